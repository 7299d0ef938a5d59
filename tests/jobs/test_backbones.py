"""The benchmark of backbones sees a parameter that does not move, and has every pair."""

import pytest
import torch
from backbones import LEAST_SIZES, ROLES, Network, Pair, count, kinds_of, pairs_of, train, without_gradient

from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.training.loop import Training


def test_every_pair_is_trained_as_slices_and_volumes_of_one_and_three_channels() -> None:
    pairs = [*pairs_of(quick=False)]

    assert len(pairs) == len(set(pairs)) == 4 * (5 * 5 + 6 * 6)


def test_the_quick_pairs_have_each_network_once_in_each_role() -> None:
    for model, roles in ROLES.items():
        pairs = [pair.kinds for pair in pairs_of(quick=True) if pair.model == model]

        for place, role in enumerate(roles):
            assert sorted(kinds[place] for kinds in pairs) == sorted(kinds_of(model, role))


@pytest.mark.slow
def test_a_pair_that_learns_is_finite_and_moves() -> None:
    trained = train(Pair("vae", ("dense", "transformer"), (16, 16), 1))

    assert (trained.diverged, trained.still) == ("", [])


def test_parameters_that_no_gradient_reached_are_named() -> None:
    training = Training.start(Experiment(), ImageSpec(size=(16, 16)), torch.device("cpu"))

    assert without_gradient(training) == [name for name, _ in training.model.named_parameters()]


@pytest.mark.slow
def test_a_step_of_a_network_is_counted() -> None:
    network = Network("vae", "encoder", "dense", LEAST_SIZES[0])

    cost = count([network], rounds=1)[network]

    assert cost["parameters"] == 2 * (256 * 256 + 256)
    assert cost["ms"] > 0
    assert cost["mb"] > 4 * 4 * cost["parameters"] / 1e6
