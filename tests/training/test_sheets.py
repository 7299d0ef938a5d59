"""The sheets of a training: what they show, and who may see them."""

import io
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tests.training.toys import ClassifierConfig

from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.picture import LINE, MARGIN
from rayology.training.evaluation import Evaluator
from rayology.training.sheets import sheets
from rayology.training.worker import train_here

CPU = torch.device("cpu")


def pictures(folder: Path) -> Iterator[tuple[str, int, Image.Image]]:
    """Read the pictures out of an event file, whose records stand between two lengths and checksums."""
    (file,) = folder.glob("tensorboard/*.tfevents.*")
    content = file.read_bytes()
    while content:
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            if value.HasField("image"):
                yield value.tag, event.step, Image.open(io.BytesIO(value.image.encoded_image_string))


@pytest.mark.usefixtures("one_thread")
def test_each_evaluation_adds_the_same_samples_and_reconstructions_to_events_for_their_owner_alone(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    still = {"schedule": {"steps": 4, "evaluate_every": 2}, "optimizer": {"lr": 1e-30}}

    train_here(small.patched(still), data, tmp_path, report=lambda _: None, device=CPU)

    shown = {(tag, step): picture.tobytes() for tag, step, picture in pictures(tmp_path)}
    assert sorted(shown) == [("generate", 2), ("generate", 4), ("reconstruct", 2), ("reconstruct", 4)]
    for tag in ("generate", "reconstruct"):
        assert shown[tag, 2] == shown[tag, 4], "the weights did not move"
    assert stat.S_IMODE((tmp_path / "tensorboard").stat().st_mode) == 0o700


@pytest.mark.parametrize(("patch", "rows"), [({}, 3), ({"model": {"conditional": False}}, 4)])
def test_a_row_of_samples_is_of_one_class_if_the_model_knows_any(
    patch: Mapping[str, object], rows: int, small: Experiment, data: PreparedDataset
) -> None:
    model = small.patched(patch).model.build(data.info.image)

    sheet = dict(sheets(Evaluator(0, data, CPU), model))["generate"]

    assert sheet.size == (MARGIN + 4 * 96, rows * 96 + LINE)


def test_what_cannot_be_looked_at_has_no_sheet(data: PreparedDataset) -> None:
    assert not list(sheets(Evaluator(0, data, CPU), ClassifierConfig().build(data.info.image)))
