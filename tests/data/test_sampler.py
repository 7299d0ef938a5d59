"""Laws of the sampler: which image comes when."""

from collections import Counter

import numpy as np
import pytest

from rayology.data.sampler import EpochSampler, PackSampler

COMMON, RARE, SINGLE = np.arange(0, 90), np.arange(90, 99), np.arange(99, 100)
CLASSES = [COMMON, RARE, SINGLE]
ALL = [np.arange(100)]


@pytest.mark.parametrize("strata", [ALL, CLASSES], ids=["natural", "balanced"])
def test_the_same_seed_gives_the_same_images(strata: list[np.ndarray]) -> None:
    for start in (0, 3, 5000):
        places = np.arange(start, start + 30)
        np.testing.assert_array_equal(EpochSampler(strata, seed=7).at(places), EpochSampler(strata, seed=7).at(places))
        assert not np.array_equal(EpochSampler(strata, seed=7).at(places), EpochSampler(strata, seed=8).at(places))


@pytest.mark.parametrize("strata", [ALL, CLASSES], ids=["natural", "balanced"])
def test_the_walk_is_the_same_in_whatever_pieces_and_order_it_is_taken(strata: list[np.ndarray]) -> None:
    sampler = EpochSampler(strata, seed=3)
    places = np.arange(4000)
    whole = EpochSampler(strata, seed=3).at(places)

    pieces = [sampler.at(places[start : start + 37]) for start in reversed(range(0, 4000, 37))]

    np.testing.assert_array_equal(np.concatenate(pieces[::-1]), whole)


def test_natural_takes_every_image_once_an_epoch_in_another_order_each_time() -> None:
    epochs = EpochSampler(ALL, seed=1).at(np.arange(300)).reshape(3, 100)

    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(100), (3, 1)))
    assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_balanced_takes_every_class_once_a_round_in_an_order_of_its_own() -> None:
    class_of = np.concatenate([np.full(len(members), number) for number, members in enumerate(CLASSES)])

    rounds = class_of[EpochSampler(CLASSES, seed=1).at(np.arange(3 * 2000))].reshape(2000, 3)

    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(np.arange(3), (2000, 1)))
    assert min(Counter(map(tuple, rounds.tolist())).values()) > 2000 / 6 * 0.8
    assert len(Counter(map(tuple, rounds.tolist()))) == 6


def test_balanced_takes_every_image_of_a_class_before_any_of_them_again() -> None:
    walked = EpochSampler(CLASSES, seed=1).at(np.arange(3 * 180))

    for members in CLASSES:
        own = walked[np.isin(walked, members)].reshape(-1, len(members))
        np.testing.assert_array_equal(np.sort(own, axis=1), np.tile(members, (len(own), 1)))


@pytest.mark.parametrize("pack", [2, 3])
def test_a_pack_is_of_one_class_and_the_classes_come_as_often_as_before(pack: int) -> None:
    strata = [COMMON, RARE]
    natural = PackSampler(strata, seed=5, pack=pack).at(np.arange(99 // pack * pack * 40))
    balanced = EpochSampler(strata, seed=5, pack=pack).at(np.arange(12 * pack))

    for order in (natural, balanced):
        of_pack = (order >= 90).reshape(-1, pack)
        assert (of_pack.all(axis=1) | ~of_pack.any(axis=1)).all()
        assert all(len(set(row)) == pack for row in order.reshape(-1, pack).tolist())
    assert np.mean(natural >= 90) == pytest.approx(9 / 99, abs=0.015)
    assert np.mean(balanced >= 90) == 0.5
    assert set(natural.tolist()) == set(range(99))


def test_packs_are_the_same_in_whatever_pieces_they_are_taken() -> None:
    sampler = PackSampler([COMMON, RARE], seed=5, pack=2)

    whole = sampler.at(np.arange(600))

    pieces = [sampler.at(np.arange(start, start + 40)) for start in reversed(range(0, 600, 40))]
    np.testing.assert_array_equal(np.concatenate(pieces[::-1]), whole)


def test_no_balanced_pack_holds_an_image_twice() -> None:
    order = EpochSampler([np.arange(3), np.arange(3, 8)], seed=0, pack=2).at(np.arange(400)).reshape(-1, 2)

    assert (order[:, 0] != order[:, 1]).all()
