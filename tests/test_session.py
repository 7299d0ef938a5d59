"""What people are told of a preparation and of a training."""

from dataclasses import replace
from pathlib import Path

import pytest

from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.session import _warnings, prepared, watching_run
from rayology.training.history import History
from rayology.training.run import Run


def test_a_preparation_tells_what_it_left_out_and_which_names_it_publishes(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared(small.patched({"storage": str(tmp_path), "preparation": {"min_foreground": 0.55}}))

    said = " ".join(capsys.readouterr().err.split())
    assert data.info.counts.nearly_empty
    assert f"Left out: {data.info.counts.nearly_empty} nearly empty" in said
    assert "Classes, named wherever the dataset and its models go: consolidation, effusion, nodule." in said


def test_a_preparation_warns_of_what_a_training_would_suffer_from(
    small: Experiment, data: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(small.patched({"schedule": {"batch_size": 4096}}))

    said = " ".join(capsys.readouterr().err.split())
    assert f"Batches of 4096 repeat the {data.info.splits['train'].images} training images: lower schedule" in said
    assert f"{data.info.splits['validation'].images} images validate: figures of fewer than 30 say little." in said


def test_a_validation_split_far_from_the_share_that_was_asked_for_is_said(
    small: Experiment, data: PreparedDataset
) -> None:
    half = data.info.splits["validation"].model_copy(update={"images": data.info.counts.images // 2})
    info = data.info.model_copy(update={"splits": {**data.info.splits, "validation": half}})

    said = [*_warnings(small, replace(data, info=info))]

    assert "50% of the images validate, not 15%: patients who count as one stay together." in said


def test_a_line_of_a_training_has_its_rate_learning_rate_losses_and_newest_validation_figures(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, small.patched({"schedule": {"steps": 10}}))

    with watching_run(run), History(tmp_path) as history:
        history.write(5, {"vae/rate": 9.0, "lr": 0.02})
        history.write(5, {"val/psnr": 20.0, "val/mmd": 3.0})
        history.write(10, {"vae/rate": 2.0, "vae/gradient_norm": 1.0, "lr": 0.002, "images_per_s": 320.4})

    said = "train: 10/10  320 images/s  lr 0.002  val/mmd 3  vae/rate 2  val/psnr 20\n"
    assert said in capsys.readouterr().err
