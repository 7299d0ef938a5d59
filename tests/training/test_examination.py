"""Looking at a bundle: what of it is recorded."""

import json
import stat
from pathlib import Path

import pytest

from rayology.bundle import provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.training import examination as examination_module
from rayology.training.examination import ExaminationConfig, examine


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
