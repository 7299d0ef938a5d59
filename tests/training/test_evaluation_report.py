"""Looking at a bundle: what is found, and what of it is recorded."""

import json
import math
import stat
from pathlib import Path

import pytest
import torch

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.image import ValueRange
from rayology.metrics import class_accuracy
from rayology.picture import GAP, LINE, MARGIN
from rayology.training import evaluation
from rayology.training import evaluation_report as report_module
from rayology.training.evaluation import Evaluator
from rayology.training.evaluation_report import EvaluateConfig, Presentation, evaluate


@pytest.mark.parametrize(("size", "num_gaps"), [((96, 96), 0), ((96, 96, 96), 3)])
def test_a_sheet_shows_a_dozen_images_or_the_planes_of_four_volumes(size: tuple[int, ...], num_gaps: int) -> None:
    sheet = Presentation("real", {"real": torch.zeros(20, 1, *size)}, {}).sheet(ValueRange())

    assert sheet.size == (MARGIN + 12 * 96 + num_gaps * GAP, 96 + LINE)


def test_a_sheet_of_samples_shows_as_many_of_each_class_class_by_class() -> None:
    labels = torch.tensor([2, 0, 0, 0, 0, 1, 2, 1])

    assert report_module._by_class(labels, 6) == [1, 2, 5, 7, 0, 6]
    assert report_module._by_class(torch.zeros(3, dtype=torch.long), 12) == [0, 1, 2]


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
    monkeypatch.setattr(class_accuracy, "STEPS", 3)
    monkeypatch.setattr(evaluation, "MOST_FULL", 5)
    data: PreparedDataset = request.getfixturevalue(kind)
    bundle = bundle_of(small, data, tmp_path)

    told: list[tuple[int, int, str]] = []

    found = evaluate(
        EvaluateConfig(bundle=bundle.path, storage=small.storage), tell=lambda *progress: told.append(progress)
    )

    reconstructions = {"psnr", "psnr/pca-16", "psnr/nearest", "ssim", "bound"}
    samples = {"mmd", "mmd/real", "mmd/low", "spectrum", "histogram", "diversity", "copies"}
    samples |= {"share/lung", "share/lung/real", "class_accuracy", "class_accuracy/real"}
    assert found.figures.keys() >= reconstructions | samples
    assert all(map(math.isfinite, found.figures.values()))
    assert found.figures["class_accuracy/chance"] == pytest.approx(1 / 3)
    assert found.figures["num_images"] == 5
    assert found.note == data.info.note
    assert list(found.pictures) == ["samples", "reconstructions"]
    assert all(picture.is_file() for picture in found.pictures.values())
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    asked = json.loads((found.folder / "samples.json").read_text())
    unseen = Evaluator(0, data, torch.device("cpu")).unseen.labels.tolist()
    classes = [data.info.image.classes[label] for label in unseen]
    shown = asked.pop("shown")
    assert asked == {"seed": 0, "first_index": 0, "count": 5, "classes": classes}
    assert [classes[index] for index in shown] == sorted(classes[index] for index in shown)
    written = json.loads((found.folder / "evaluation.json").read_text())
    assert (written["images"], written["split"], written["note"]) == (5, "validation", data.info.note)
    by_name = {each["name"]: each for each in written["figures"]}
    assert by_name["psnr"]["better"] == "higher"
    assert by_name["psnr"]["baselines"].keys() == {"pca-16", "nearest"}
    shown_page = found.page.read_text()
    assert shown_page.count("data:image/png;base64,") == 2
    assert all(f"<td>{name}</td>" in shown_page for name in by_name)
    assert stat.S_IMODE(found.page.stat().st_mode) == 0o600


class Stopped(Exception):
    """Stands for the evaluation itself."""


def test_every_look_at_the_test_split_is_recorded_and_no_other(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    bundle = bundle_of(small, data, tmp_path)
    readings = small.storage / "keys" / f"{data.info.fingerprint}.test-readings.jsonl"
    # The figures themselves take minutes.
    monkeypatch.setattr(report_module, "Evaluator", stop)
    splits: list[SplitName] = ["validation", "test", "test", "train"]

    for split in splits:
        with pytest.raises(Stopped):
            evaluate(EvaluateConfig(bundle=bundle.path, storage=small.storage, split=split), tell=lambda *_: None)

    recorded = [json.loads(line) for line in readings.read_text().splitlines()]
    assert [Path(each["bundle"]) for each in recorded] == [bundle.path, bundle.path]
    assert recorded[0]["at"] <= recorded[1]["at"]
    assert stat.S_IMODE(readings.stat().st_mode) == 0o600
