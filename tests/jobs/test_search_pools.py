"""Replays on a pool of trainings."""

import numpy as np
import pytest
from search_pools import DRAWS, Pool, by_chance, replay

from rayology.search.space import Space

POOL = Pool.read("mnist-vae")


def test_a_member_is_a_point_with_its_trainings() -> None:
    members = POOL.members()

    assert len({frozenset(member.point.items()) for member in members}) == len(members) == 100
    assert sum(len(member.looks) == 3 for member in members) == 20
    assert POOL.regret(min(member.truth for member in members)) == 0


def test_a_warm_search_starts_with_points_of_other_datasets_that_are_members_of_the_pool() -> None:
    starts = POOL.portfolio()

    space = Space.read(POOL.record.space)
    assert 3 <= len(starts) == len({frozenset(start.items()) for start in starts})
    assert all(space.admitted(start) == start for start in starts)


@pytest.mark.slow
def test_a_replay_is_the_same_again_and_ends_with_a_member() -> None:
    one, other = (replay(POOL, {"sampler": "random"}, [], seed=1) for _ in range(2))

    assert np.array_equal(one, other)
    assert len(one) == len(by_chance(POOL)) == DRAWS * POOL.parts
    assert one[-1] in {member.truth for member in POOL.members()}
