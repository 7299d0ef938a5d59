"""Looking at a bundle: what of it is recorded."""

import json
import stat
from pathlib import Path

import pytest
import torch
from PIL import Image

from rayology.bundle import provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.picture import GAP, MARGIN
from rayology.training import examination as examination_module
from rayology.training.examination import ExaminationConfig, examine


@pytest.mark.parametrize(("size", "num_gaps"), [((96, 96), 0), ((96, 96, 96), 3)])
def test_a_sheet_shows_a_dozen_images_or_the_planes_of_four_volumes(
    size: tuple[int, ...], num_gaps: int, tmp_path: Path
) -> None:
    drawn = examination_module._draw(tmp_path / "real.png", {"real": torch.zeros(20, 1, *size)})

    with Image.open(drawn) as sheet:
        assert sheet.size == (MARGIN + 12 * 96 + num_gaps * GAP, 96)


class Stopped(Exception):
    """Stands for the examination itself."""


def test_every_look_at_the_test_split_is_recorded_and_no_other(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    bundle = write_bundle(
        tmp_path / "run" / "bundle",
        experiment=small,
        model=small.model.build(data.info.image),
        metrics={},
        provenance=provenance_of(dataset=data.info.fingerprint, note="", seed=0, steps=1),
    )
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
