"""Spectral normalisation."""

import pytest
import torch
from torch import nn

from rayology.models import spectral


def largest(layer: nn.Linear | nn.Conv2d) -> float:
    return float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2))


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Conv2d(4, 6, 3)], ids=["linear", "convolution"])
def test_no_weight_has_a_singular_value_above_one(layer: nn.Linear | nn.Conv2d) -> None:
    layer.weight.data.mul_(20)
    spectral.normalise(nn.Sequential(layer))

    assert largest(layer) == pytest.approx(1.0, abs=0.1)


def test_a_layer_that_stretches_less_is_left_as_it_is() -> None:
    layer = nn.Linear(12, 7)
    before = layer.weight.detach().clone().mul_(0.1)
    layer.weight.data.mul_(0.1)
    spectral.normalise(nn.Sequential(layer))

    assert torch.equal(layer.weight, before)


def test_the_norm_of_a_layer_that_starts_at_zero_is_followed_once_it_moves() -> None:
    layer = nn.Linear(12, 7)
    nn.init.zeros_(layer.weight)
    network = nn.Sequential(layer)
    spectral.normalise(network)
    assert not layer.weight.any()

    layer.parametrizations.weight.original.data.copy_(5 * torch.randn(7, 12))  # type: ignore[union-attr, operator] # torch's own
    for _ in range(20):
        spectral.iterate(network)

    assert largest(layer) == pytest.approx(1.0, abs=0.1)


def test_a_forward_pass_moves_nothing_so_that_the_cuts_of_a_batch_do_not_count() -> None:
    network = nn.Sequential(nn.Linear(12, 7))
    spectral.normalise(network)
    before = [each.clone() for each in network.buffers()]

    network(torch.randn(3, 12))

    assert all(torch.equal(each, old) for each, old in zip(network.buffers(), before, strict=True))
