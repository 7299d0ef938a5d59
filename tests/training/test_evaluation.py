"""Holding a model against unseen images: how many of them."""

import math

import pytest
import torch

from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.training import evaluation
from rayology.training.evaluation import MOST_EXAMINED, MOST_GLANCED, Evaluator

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "examined", "glanced"),
    [
        ((1, 64, 64), 2048, 256),
        ((1, 512, 512), 2048, 256),
        ((1, 64, 64, 64), 2048, 256),
        ((1, 96, 96, 96), 606, 75),
        ((1, 128, 128, 128), 256, 32),
    ],
)
def test_of_larger_volumes_fewer_are_examined(shape: tuple[int, ...], examined: int, glanced: int) -> None:
    num_values = math.prod(shape)

    assert evaluation._at_most(MOST_EXAMINED, num_values) == examined
    assert evaluation._at_most(MOST_GLANCED, num_values) == glanced


@pytest.mark.parametrize(("most", "expected"), [(16, 4), (4, 2)])
def test_as_many_are_drawn_as_their_values_allow_and_two_at_least(
    small: Experiment, data: PreparedDataset, monkeypatch: pytest.MonkeyPatch, most: int, expected: int
) -> None:
    whole = Evaluator(small, data, CPU).unseen
    for constant, count in (("SLICE", 16 * 16 // 4), ("MOST_EXAMINED", most), ("MOST_GLANCED", most)):
        monkeypatch.setattr(evaluation, constant, count)  # constants; images that large take gigabytes

    evaluator = Evaluator(small, data, CPU)

    assert len(whole.images) == len(data.split("validation")) > 4
    for drawn in (evaluator.unseen, evaluator._glanced):
        torch.testing.assert_close(drawn.images, whole.images[:expected], rtol=0, atol=0)
    assert len(evaluator._glanced_reference.train) == expected


def test_an_examination_of_a_part_says_of_how_many_images(
    small: Experiment, data: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small.model.build(data.info.image)
    whole = Evaluator(small, data, CPU).examine(model)
    monkeypatch.setattr(evaluation, "MOST_EXAMINED", 3)

    part = Evaluator(small, data, CPU).examine(model)

    assert part["examined"] == 3
    assert part.keys() - whole.keys() == {"examined"}
