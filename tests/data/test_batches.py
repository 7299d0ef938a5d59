"""Laws of feeding: what a thread gathers ahead is what the plan says, and nothing outlives the block."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rayology.data import Plan, PreparedDataset, Split, feeding
from rayology.data.batches import gathering
from rayology.data.sampler import EpochSampler, Sampling
from rayology.errors import DatasetError
from rayology.image import Batch

CPU = torch.device("cpu")
WHOLE = [slice(0, 8)]


@pytest.fixture
def train(data: PreparedDataset) -> Split:
    return data.split("train")


def planned(rows: list[slice], *, steps: range = range(12), sampling: Sampling = "natural") -> Plan:
    return Plan(steps=steps, rows=rows, batch_size=8, seed=5, sampling=sampling)


def fed(split: Split, plan: Plan, device: torch.device = CPU) -> list[Batch]:
    """Take all batches of a plan, each copied out of the memory that is used again."""
    with feeding(split, plan, device) as feed:
        return [Batch(batch.images.clone(), batch.labels.clone()) for batch in (feed(*piece) for piece in plan)]


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    assert torch.equal(torch.cat([each.images for each in batches]), torch.cat([each.images for each in others]))
    assert torch.equal(torch.cat([each.labels for each in batches]), torch.cat([each.labels for each in others]))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_a_fed_batch_holds_the_images_of_the_walk(train: Split, sampling: Sampling) -> None:
    sampler = train.sampler(seed=5, sampling=sampling)
    expected = [train.batch(sampler.at(np.arange(8) + 8 * step), device=CPU) for step in range(12)]

    assert_same(fed(train, planned(WHOLE, sampling=sampling)), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_is_fed_what_a_processor_is(train: Split) -> None:
    batches = fed(train, planned(WHOLE, steps=range(100)), torch.device("cuda"))

    moved = [Batch(batch.images.cpu(), batch.labels.cpu()) for batch in batches]
    assert_same(moved, fed(train, planned(WHOLE, steps=range(100))))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_the_parts_of_the_ranks_are_the_whole(train: Split, sampling: Sampling) -> None:
    ranks = [[slice(0, 2), slice(2, 4)], [slice(4, 6), slice(6, 8)]]

    first, second = (fed(train, planned(rows, sampling=sampling)) for rows in ranks)

    together = [part for step in range(12) for rank in (first, second) for part in rank[2 * step : 2 * step + 2]]
    assert_same(together, fed(train, planned(WHOLE, sampling=sampling)))


def test_a_plan_that_starts_later_goes_on_where_the_first_would_be(train: Split) -> None:
    assert_same(fed(train, planned(WHOLE, steps=range(7, 12))), fed(train, planned(WHOLE))[7:])


def test_the_parts_of_one_step_are_good_until_the_next_step(train: Split) -> None:
    plan = planned([slice(0, 4), slice(4, 8)])
    expected = fed(train, planned(WHOLE))

    with feeding(train, plan, CPU) as feed:
        for step in plan.steps:
            parts = [feed(step, rows) for rows in plan.rows]
            assert torch.equal(torch.cat([part.images for part in parts]), expected[step].images)


def test_memory_is_used_again(train: Split) -> None:
    with feeding(train, planned(WHOLE), CPU) as feed:
        places = {feed(*piece).images.data_ptr() for piece in planned(WHOLE)}

    assert len(places) == 2


def test_integers_are_handed_over_as_they_are_stored(train: Split) -> None:
    indices = train.sampler(seed=5).at(np.arange(8))

    with gathering(train, planned(WHOLE), CPU) as gather:
        levels = gather(0, WHOLE[0])

    np.testing.assert_array_equal(levels.stored.numpy(), train.stored(indices))
    np.testing.assert_array_equal(levels.labels.numpy(), train.labels[indices])


def leave(feed: Callable[[int, slice], Batch]) -> None:
    feed(0, WHOLE[0])


def leave_by_an_error(feed: Callable[[int, slice], Batch]) -> None:
    feed(0, WHOLE[0])
    raise KeyboardInterrupt


@pytest.mark.parametrize("use", [leave, leave_by_an_error])
def test_the_thread_ends_with_the_block(train: Split, use: Callable[[Callable[[int, slice], Batch]], None]) -> None:
    try:
        with feeding(train, planned(WHOLE, steps=range(10**6)), CPU) as feed:
            use(feed)
            assert any(thread.name.startswith("feeding") for thread in threading.enumerate())
    except KeyboardInterrupt:
        pass

    assert not any(thread.name.startswith("feeding") for thread in threading.enumerate())


def test_an_error_of_the_thread_is_raised_where_its_batch_is_asked_for(train: Split) -> None:
    class Broken(Split):
        """A split whose second batch cannot be read."""

        def stored(self, indices: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
            if set(indices) == second:
                raise DatasetError("the disk is gone")
            return super().stored(indices, out=out)

    second = set(train.sampler(seed=5).at(np.arange(8, 16)))
    broken = Broken(**vars(train))

    with feeding(broken, planned(WHOLE), CPU) as feed:
        feed(0, WHOLE[0])
        for step in (1, 2):  # nor does who asks again wait for ever
            with pytest.raises(DatasetError, match="the disk is gone"):
                feed(step, WHOLE[0])


def test_an_error_of_the_walk_leaves_the_batches_before_it(train: Split) -> None:
    class Lost(EpochSampler):
        """A sampler that fails after two batches, with no Exception, as a codec in Rust does."""

        def at(self, places: np.ndarray) -> np.ndarray:
            if places[0] >= 16:
                raise SystemExit("panicked")
            return super().at(places)

    class Strayed(Split):
        """A split with such a sampler."""

        def sampler(self, *, seed: int, sampling: Sampling = "natural", pack: int = 1) -> EpochSampler:
            del sampling, pack
            return Lost([np.arange(len(self))], seed=seed)

    with feeding(Strayed(**vars(train)), planned(WHOLE), CPU) as feed:
        batches = [feed(step, WHOLE[0]).images.clone() for step in (0, 1)]
        with pytest.raises(SystemExit, match="panicked"):
            feed(2, WHOLE[0])

    assert torch.equal(torch.cat(batches), torch.cat([batch.images for batch in fed(train, planned(WHOLE))[:2]]))


def test_who_asks_after_the_block_does_not_wait_for_ever(train: Split) -> None:
    with feeding(train, planned(WHOLE), CPU) as feed:
        feed(0, WHOLE[0])

    with pytest.raises(RuntimeError, match="ended"):
        [feed(step, WHOLE[0]) for step in range(1, 12)]


def test_balanced_batches_hold_as_many_of_each_class(train: Split) -> None:
    num_classes = len(train.info.image.classes)
    size = 4 * num_classes
    plan = Plan(range(5), [slice(0, size)], batch_size=size, seed=0, sampling="balanced")

    for batch in fed(train, plan):
        assert torch.bincount(batch.labels).tolist() == [4] * num_classes
