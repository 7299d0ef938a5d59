"""The endless order of a split's images, which depends on nothing but a seed."""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpochSampler", "PackSampler", "Sampling"]

Sampling = Literal["natural", "balanced"]
"""natural: every image once an epoch; balanced: every class equally often, the images of each in turn."""

Places = NDArray[np.int64]
ROUNDS = 1024  # drawn at once


class EpochSampler:
    """Take one image of every stratum each round, and all images of a stratum before any comes again.

    One stratum of all images gives epochs; one stratum for each class gives class-balanced sampling. With packs, a
    stratum gives so many images at its turn.
    """

    def __init__(self, strata: Sequence[NDArray[np.int64]], *, seed: int, pack: int = 1) -> None:
        """Take the images listed in the strata, none of which is empty."""
        self._strata = strata
        self._pack = pack
        # As many as neighbouring places can need, so that a step draws none again.
        self._permutation = functools.lru_cache(2 * len(strata) + 2)(functools.partial(_permutation, seed))
        self._turns = functools.lru_cache(2)(functools.partial(_turns, seed, len(strata)))

    def at(self, places: Places) -> NDArray[np.int64]:
        """Return the images at some places of the order, counted from 0."""
        if len(self._strata) == 1:
            return self._members(0, places)
        packs, members = np.divmod(places, self._pack)
        rounds, turns = np.divmod(packs, len(self._strata))
        chosen = self._chosen(rounds, turns)
        images = np.empty_like(places)
        for stratum in range(len(self._strata)):
            here = chosen == stratum
            images[here] = self._members(stratum, rounds[here] * self._pack + members[here])
        return images

    def _members(self, stratum: int, rounds: Places) -> NDArray[np.int64]:
        """Return the images of a stratum in some rounds."""
        members = self._strata[stratum]
        epochs, offsets = np.divmod(rounds, len(members) // self._pack * self._pack)  # no pack lies in two epochs
        images = np.empty_like(rounds)
        for epoch in set(epochs.tolist()):
            now = epochs == epoch
            images[now] = members[self._permutation(epoch, stratum, len(members))[offsets[now]]]
        return images

    def _chosen(self, rounds: Places, turns: Places) -> NDArray[np.int64]:
        """Return the stratum whose turn it is; each round has an order of its own."""
        chosen = np.empty_like(turns)
        blocks, offsets = np.divmod(rounds, ROUNDS)
        for block in np.unique(blocks):
            here = blocks == block
            chosen[here] = self._turns(int(block))[offsets[here], turns[here]]
        return chosen


class PackSampler(EpochSampler):
    """Take packs of images of one stratum, each stratum in proportion to its size.

    An epoch shuffles each stratum, cuts it into packs and shuffles those; the images left over wait for an epoch
    that leaves others over.
    """

    def __init__(self, strata: Sequence[NDArray[np.int64]], *, seed: int, pack: int) -> None:
        """Take the images listed in the strata, each of which has at least a pack."""
        super().__init__(strata, seed=seed, pack=pack)
        self._of_pack = np.concatenate([np.full(len(each) // pack, number) for number, each in enumerate(strata)])
        self._in_stratum = np.concatenate([np.arange(len(each) // pack) for each in strata])

    def at(self, places: Places) -> NDArray[np.int64]:
        """Return the images at some places of the order, counted from 0."""
        packs, members = np.divmod(places, self._pack)
        epochs, offsets = np.divmod(packs, len(self._of_pack))
        images = np.empty_like(places)
        for epoch in set(epochs.tolist()):
            now = epochs == epoch
            shuffled = self._permutation(epoch, len(self._strata), len(self._of_pack))[offsets[now]]
            ranks = self._in_stratum[shuffled] * self._pack + members[now]
            images[now] = [
                self._strata[stratum][self._permutation(epoch, stratum, len(self._strata[stratum]))[rank]]
                for stratum, rank in zip(self._of_pack[shuffled].tolist(), ranks.tolist(), strict=True)
            ]
        return images


def _permutation(seed: int, epoch: int, stratum: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, stratum]).permutation(length)


def _turns(seed: int, num_strata: int, block: int) -> NDArray[np.int64]:
    """Return the order of the strata in each round of a block."""
    generator = np.random.default_rng([seed, block, num_strata])  # the first number that is not a stratum's
    return generator.random((ROUNDS, num_strata)).argsort(axis=1)
