"""Looking at a bundle: what is found, and what of it is recorded."""

import json
import math
import stat
from pathlib import Path

import pytest
import torch
from PIL import Image

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.metrics import recognition
from rayology.picture import GAP, MARGIN
from rayology.training import evaluation
from rayology.training import examination as examination_module
from rayology.training.evaluation import Evaluator
from rayology.training.examination import ExaminationConfig, examine


@pytest.mark.parametrize(("size", "num_gaps"), [((96, 96), 0), ((96, 96, 96), 3)])
def test_a_sheet_shows_a_dozen_images_or_the_planes_of_four_volumes(
    size: tuple[int, ...], num_gaps: int, tmp_path: Path
) -> None:
    drawn = examination_module._draw(tmp_path / "real.png", {"real": torch.zeros(20, 1, *size)})

    with Image.open(drawn) as sheet:
        assert sheet.size == (MARGIN + 12 * 96 + num_gaps * GAP, 96)


def bundle_of(small: Experiment, data: PreparedDataset, folder: Path) -> Bundle:
    return write_bundle(
        folder / "run" / "bundle",
        experiment=small,
        model=small.model.build(data.info.image),
        metrics={},
        provenance=provenance_of(dataset=data.info.fingerprint, note="one patient", seed=0, steps=1),
    )


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["data", "volumes"])
def test_a_bundle_is_held_against_unseen_images_and_shown_beside_them(
    kind: str, small: Experiment, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Constants; a thousand steps, and the similarity of many volumes, take minutes.
    monkeypatch.setattr(recognition, "STEPS", 3)
    monkeypatch.setattr(evaluation, "MOST_FULL", 5)
    data: PreparedDataset = request.getfixturevalue(kind)
    bundle = bundle_of(small, data, tmp_path)

    found = examine(ExaminationConfig(bundle=bundle.path, storage=small.storage))

    beside = {"psnr", "psnr/pca-16", "psnr/nearest", "ssim", "bound"}
    samples = {"mmd", "mmd/real", "mmd/low", "spectrum", "histogram", "diversity", "copies"}
    assert found.figures.keys() >= beside | samples | {"share/lung", "share/lung/real", "recognised", "recognised/real"}
    assert all(map(math.isfinite, found.figures.values()))
    assert found.figures["recognised/chance"] == pytest.approx(1 / 3)
    assert found.figures["examined"] == 5
    assert found.note == data.info.note
    assert [picture.name for picture in found.pictures] == ["samples.png", "reconstructions.png"]
    assert all(picture.is_file() for picture in found.pictures)
    asked = json.loads((found.pictures[0].parent / "samples.json").read_text())
    unseen = Evaluator(0, data, torch.device("cpu")).unseen.labels.tolist()
    classes = [data.info.image.classes[label] for label in unseen]
    assert asked == {"seed": 0, "first_index": 0, "count": 5, "classes": classes}


class Stopped(Exception):
    """Stands for the examination itself."""


def test_every_look_at_the_test_split_is_recorded_and_no_other(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    bundle = bundle_of(small, data, tmp_path)
    readings = small.storage / "keys" / f"{data.info.fingerprint}.test-readings.jsonl"
    # The figures themselves take minutes.
    monkeypatch.setattr(examination_module, "Evaluator", stop)
    splits: list[SplitName] = ["validation", "test", "test", "train"]

    for split in splits:
        with pytest.raises(Stopped):
            examine(ExaminationConfig(bundle=bundle.path, storage=small.storage, split=split))

    recorded = [json.loads(line) for line in readings.read_text().splitlines()]
    assert [Path(each["bundle"]) for each in recorded] == [bundle.path, bundle.path]
    assert recorded[0]["at"] <= recorded[1]["at"]
    assert stat.S_IMODE(readings.stat().st_mode) == 0o600
