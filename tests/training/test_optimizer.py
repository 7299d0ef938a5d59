"""Adam without what torch's step does around it."""

import copy

import pytest
import torch
from torch import Tensor, nn, optim

from rayology.training.optimizer import Adam

HELD = torch.zeros(())


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(2, 3, 3)
    first.weight.data = first.weight.data.to(memory_format=torch.channels_last)
    return nn.Sequential(first, nn.Flatten(), nn.Linear(27, 1), nn.Linear(1, 1)).to(dtype)


def differentiate(network: nn.Module, step: int) -> None:
    """Leave one layer out of every other step, so that its weights have no gradient."""
    weight = next(network.parameters())
    layers = list(network.children())[: 3 + step % 2]
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step)).to(weight)
    nn.Sequential(*layers)(images).square().mean().backward()


def everything(network: nn.Module, optimizer: optim.Adam) -> dict[str, Tensor]:
    found = {name: weight.detach() for name, weight in network.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        found |= {f"{index}/{name}": tensor for name, tensor in state.items()}
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_moments_and_counts_are_torchs_bit_for_bit_also_from_a_state_that_torch_made(
    dtype: torch.dtype,
) -> None:
    ours, torchs = network(dtype), network(dtype)
    adam = Adam(ours.parameters(), betas=(0.5, 0.9), fused=True)
    theirs = optim.Adam(torchs.parameters(), betas=(0.5, 0.9), fused=True)
    for step in range(6):
        lr, betas = 0.1 / (step + 1), (0.5, 0.9 + 0.01 * step)
        differentiate(ours, step)
        differentiate(torchs, step)
        adam.move(lr=lr, betas=betas, held=HELD)
        theirs.param_groups[0] |= {"lr": lr, "betas": betas}
        theirs.step()
        theirs.zero_grad()
        if step == 2:
            adam.load_state_dict(copy.deepcopy(theirs.state_dict()))

        mine, expected = everything(ours, adam), everything(torchs, theirs)

        assert mine.keys() == expected.keys()
        for name, tensor in expected.items():
            assert mine[name].equal(tensor), name
            assert (mine[name].dtype, mine[name].stride()) == (tensor.dtype, tensor.stride()), name
