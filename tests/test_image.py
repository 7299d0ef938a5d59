"""Laws of the value range."""

import numpy as np
import pytest
import torch

from rayology.config import validated
from rayology.errors import ConfigError
from rayology.image import ImageSpec, ValueRange, clipped_share, from_model_range, to_model_range, to_stored

HU = ValueRange(low=-1000.0, high=1000.0)


@pytest.mark.parametrize("kept", [HU, ValueRange(low=0.0, high=1.0, unit="fraction"), ValueRange(levels=256)])
def test_values_come_back_within_half_a_stored_step(kept: ValueRange) -> None:
    values = np.random.default_rng(0).uniform(kept.low, kept.high, 10_000)

    back = from_model_range(to_model_range(torch.from_numpy(to_stored(values, kept)).double(), kept), kept)

    assert np.abs(back.numpy() - values).max() <= 0.5 * kept.step * (1 + 1e-9)


def test_the_ends_of_the_range_are_minus_one_and_one() -> None:
    stored = torch.from_numpy(to_stored(np.array([HU.low, HU.high]), HU)).double()

    torch.testing.assert_close(to_model_range(stored, HU), torch.tensor([-1.0, 1.0]).double())


@pytest.mark.parametrize("levels", [2, 3, 256, 1000, 4096, 65536])
def test_no_level_is_rounded_out_of_the_models_range(levels: int) -> None:
    scaled = to_model_range(torch.arange(levels).float(), ValueRange(levels=levels))

    assert scaled[0] == -1
    assert 1 - 4 * torch.finfo(torch.float32).eps <= scaled[-1] <= 1
    assert (scaled.diff() > 0).all()


def test_what_lies_outside_is_clipped_and_counted() -> None:
    values = np.array([-2000.0, -1000.0, 0.0, 3000.0], np.float32)

    assert to_stored(values, HU).tolist() == [0, 0, 2048, 4095]
    assert clipped_share(values, HU) == 0.5


def test_what_a_model_draws_outside_is_clipped() -> None:
    assert from_model_range(torch.tensor([-3.0, 3.0]), HU).tolist() == [-1000.0, 1000.0]


@pytest.mark.parametrize("size", [(8, 64), (64, 15), (0, 0), (16, 16, 4097), (16,)])
def test_a_side_that_is_too_short_or_too_long_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="size"):
        validated(ImageSpec, {"size": size}, where="test")


def test_a_range_whose_bounds_are_swapped_is_refused() -> None:
    with pytest.raises(ConfigError, match="must lie below high"):
        validated(ValueRange, {"low": 1.0, "high": 0.0}, where="test")
