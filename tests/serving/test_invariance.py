"""Layers whose bits depend on the size of a batch are padded; what they compute stays the same."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from rayology.serving.invariance import least_size, padded, steady_gpu, steady_layers


class Fickle(nn.Linear):
    """Adds the last bit below five rows, as a matrix product may."""

    rows_seen = 0

    def reset_parameters(self) -> None:
        """Have whole numbers, whose sums are exact: real products are as fickle."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, rows: Tensor) -> Tensor:
        self.rows_seen = len(rows)
        return super().forward(rows).double() + (2**-40 if len(rows) < 5 else 0)


def rows_of(count: int) -> Tensor:
    return torch.arange(4.0 * count).reshape(count, 4)


@pytest.mark.parametrize(("full", "least"), [(16, 6), (8, 6), (4, 1), (1, 1)])
def test_the_least_size_is_that_from_which_on_all_measured_sizes_agree(full: int, least: int) -> None:
    layer = Fickle(4, 4).requires_grad_(requires_grad=False)

    assert least_size(lambda count: list(layer(rows_of(full)[:count])), full) == least


def test_a_layer_is_padded_to_its_least_size_and_gives_the_same_rows_from_then_on() -> None:
    network = nn.Sequential(Fickle(4, 4), nn.ReLU()).requires_grad_(requires_grad=False)
    before, rows = copy.deepcopy(network), rows_of(16)

    steady_layers(network, lambda: network(rows), 16)

    assert all(torch.equal(network(rows[:count]), before(rows)[:count]) for count in range(1, 17))
    assert not torch.equal(before(rows[:1]), before(rows)[:1])
    network(rows[:1])
    assert network[0].rows_seen == 6


def test_a_layer_that_needs_none_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1)).requires_grad_(requires_grad=False)

    steady_layers(network, lambda: network(torch.zeros(8, 1, 4, 4)), 8)

    assert "forward" not in vars(network[0])


@pytest.fixture
def _kernels() -> Iterator[None]:
    """Bring back, for other tests, how torch computes on GPUs."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32 = True, False, True, True
    yield
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32 = before


@pytest.mark.usefixtures("_kernels")
def test_a_gpu_computes_float32_as_such_by_kernels_that_do_not_change() -> None:
    steady_gpu()

    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


def test_rows_are_padded_with_zeros_and_never_cut() -> None:
    assert torch.equal(padded(torch.ones(2, 3), 4), torch.tensor([[1.0] * 3] * 2 + [[0.0] * 3] * 2))
    assert len(padded(torch.ones(5, 3), 4)) == 5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(72, 72, 3, padding=1), (72, 4, 4)),
        (nn.Conv2d(16, 24, 3, stride=2, padding=1, groups=4), (16, 8, 8)),
        (nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"), (16, 8, 8)),
        (nn.Conv2d(16, 16, 3, padding="same", dilation=2), (16, 8, 8)),
        (nn.Conv3d(8, 8, 3, padding=1), (8, 4, 4, 4)),
        (nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), (16, 4, 4)),
        (nn.Linear(66, 2688), (66,)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "x".join(map(str, value)),
)
def test_layers_of_torch_compute_what_they_did_with_the_same_bits_in_batches_of_every_size(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    rows = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(layer).requires_grad_(requires_grad=False)
    expected = network(rows)

    steady_layers(network, lambda: network(rows), 16)

    torch.testing.assert_close(network(rows), expected)
    assert all(torch.equal(network(rows[:count]), network(rows)[:count]) for count in range(1, 17))
