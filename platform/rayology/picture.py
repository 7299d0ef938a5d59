"""Images as pictures for people: grey levels, and many images on one sheet."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

__all__ = ["contact_sheet", "labelled_sheet", "to_grey_levels"]

MARGIN = 96  # pixels left of a row for its label
LEAST_TILE = 96  # pixels that a side of a shown image has at least: small images are enlarged


def to_grey_levels(images: Float[Tensor, "count channel height width"]) -> NDArray[np.uint8]:
    """Map [-1, 1] linearly to black and white."""
    return ((images.detach().float().cpu().clip(-1.0, 1.0) + 1.0) * 127.5).round().byte().numpy()


def contact_sheet(levels: UInt8[np.ndarray, "count channel height width"], *, columns: int = 0) -> Image.Image:
    """Lay images out row by row, as nearly square as the count allows unless ``columns`` says otherwise.

    Three channels become colour; any other number of them stand side by side. Black fills what is left.
    """
    count, channels, height, width = levels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, channels, height, width), np.uint8)
    tiles[:count] = levels

    tiles = tiles.reshape(rows, columns, channels, height, width)
    if channels == 3:
        return Image.fromarray(tiles.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3))
    return Image.fromarray(tiles.transpose(0, 3, 1, 2, 4).reshape(rows * height, columns * channels * width))


def labelled_sheet(rows: Mapping[str, Float[Tensor, "count channel height width"]]) -> Image.Image:
    """Lay rows of images in [-1, 1] below one another, each with its label, as many as the shortest row has."""
    shown = min(len(images) for images in rows.values())
    sheet = contact_sheet(np.concatenate([to_grey_levels(images[:shown]) for images in rows.values()]), columns=shown)
    enlarged = math.ceil(LEAST_TILE * shown / sheet.width)
    sheet = sheet.resize((sheet.width * enlarged, sheet.height * enlarged), Image.Resampling.NEAREST)

    labelled = Image.new(sheet.mode, (sheet.width + MARGIN, sheet.height))
    labelled.paste(sheet, (MARGIN, 0))
    draw = ImageDraw.Draw(labelled)
    for row, label in enumerate(rows):
        draw.text((4, (row + 0.5) * sheet.height / len(rows)), label, fill="white", anchor="lm")
    return labelled
