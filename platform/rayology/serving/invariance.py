"""Have each image of a batch come out with the same bits, however many are computed with it.

The last bits of a matrix product or a convolution depend on the size of the batch, though not on the place in it, and
on the processor. Mostly a few small layers are to blame, below a few rows. These alone are padded with zeros, which
costs little, while padding the whole batch would cost as much as the images that are not there. A convolution of one
small image is left to another library than that of several, by torch, and needs no padding once it is not.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["least_size", "padded", "steady_gpu", "steady_layers"]

LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Forward = Callable[[Tensor], Tensor]


def least_size(compute: Callable[[int], Sequence[Tensor]], full: int) -> int:
    """Return the size from which on, up to a full batch, all that were measured give a row the same bits."""
    expected, least = compute(full), full
    for size in _sizes(full):
        if not all(map(torch.equal, compute(size), expected)):
            break
        least = size
    return least


def steady_layers(model: nn.Module, compute: Callable[[], object], full: int) -> None:
    """Have each layer give a row the same bits, from now on, in batches of every size.

    Args:
        model: what is computed; its layers are changed in place.
        compute: function that computes a full batch with it.
        full: the size of a full batch.
    """
    inputs: dict[nn.Module, Tensor] = {}
    layers = [layer for layer in model.modules() if isinstance(layer, LAYERS)]
    hooks = [layer.register_forward_pre_hook(partial(_note, inputs)) for layer in layers]
    compute()
    for hook in hooks:
        hook.remove()
    with torch.inference_mode():
        for layer, rows in inputs.items():
            if len(rows) == full and (least := _least(layer.forward, rows)) > 1:
                direct = _onednn(layer, rows)
                if direct is None or _least(direct, rows) > 1:
                    direct = partial(_padded_forward, layer.forward, least)
                layer.forward = direct


def steady_gpu() -> None:
    """Have GPUs compute float32 as such, and the same each time; the processor is left as it is."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # it would choose by what was fastest at the moment, and in another replica


def padded(rows: Tensor, least: int) -> Tensor:
    """Return rows with as many of zeros behind them as there lack."""
    missing = least - len(rows)
    return rows if missing <= 0 else torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


def _note(inputs: dict[nn.Module, Tensor], layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    inputs.setdefault(layer, arguments[0])


def _least(forward: Forward, rows: Tensor) -> int:
    return least_size(lambda count: list(forward(rows[:count])), len(rows))


def _onednn(layer: nn.Module, rows: Tensor) -> Forward | None:
    """Return a convolution by oneDNN, which torch leaves out for one small image; None if it does not do this one."""
    if not isinstance(layer, nn.Conv2d | nn.Conv3d) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return None
    geometry = layer.padding, layer.stride, layer.dilation, layer.groups
    return lambda rows: torch.mkldnn_convolution(rows, layer.weight, layer.bias, *geometry)


def _padded_forward(forward: Forward, least: int, rows: Tensor) -> Tensor:
    return forward(padded(rows, least))[: len(rows)]


def _sizes(most: int) -> list[int]:
    """Return sizes below the largest to measure, in falling order: a few at each scale, even and odd."""
    scales = range(max(1, math.ceil(math.log2(most))))
    near = {size for scale in scales for size in (most >> scale, (most >> scale) - 1, 3 * most >> (scale + 2))}
    return sorted((size for size in near if 1 <= size < most), reverse=True)
