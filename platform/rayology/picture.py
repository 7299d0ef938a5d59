"""Images as pictures for people: grey levels, the right way up, and many images on one sheet."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFont
from torch import Tensor

from rayology.image import ValueRange

__all__ = ["contact_sheet", "labelled_sheet", "num_planes", "to_grey_levels", "upright"]

MARGIN = 96  # pixels left of a row for its label
GAP = 2  # pixels between volumes: the planes of one touch each other
LINE = 24  # pixels of a line of text above or below the images
FONT_SIZE = 13
SCALE_WIDTH = 64  # pixels of the grey scale: even a sheet of one image is wide enough for it
LEAST_TILE = 96  # pixels that a side of a shown image has at least: small images are enlarged
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Turn that brings a picture upright, by its Orientation (Exif 2.3, section 4.6.4)."""


def upright(picture: Image.Image) -> Image.Image:
    """Return a picture that has been loaded, turned as its Orientation says, which is how viewers show it."""
    turn: Image.Transpose | None = None
    with suppress(Exception):  # EXIF that is broken in whatever way says nothing
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def to_grey_levels(images: Float[Tensor, "count channel *space"]) -> NDArray[np.uint8]:
    """Map [-1, 1] linearly to black and white."""
    return ((images.detach().float().cpu().clip(-1.0, 1.0) + 1.0) * 127.5).round().byte().numpy()


def num_planes(shape: tuple[int, ...]) -> int:
    """Return how many planes of each image a sheet shows side by side, given the shape of a batch."""
    return 3 if len(shape) == 5 else 1


def contact_sheet(levels: UInt8[np.ndarray, "count channel *space"], *, columns: int = 0) -> Image.Image:
    """Lay images out row by row, as nearly square as the count allows unless ``columns`` says otherwise.

    Three channels become colour; any other number of them stand side by side. A volume is shown as its middle axial,
    coronal and sagittal plane, side by side. Black fills what is left.
    """
    columns = columns or math.ceil(math.sqrt(len(levels) / num_planes(levels.shape)))
    flat, gap = (levels, 0) if num_planes(levels.shape) == 1 else (_middle_planes(levels), GAP)
    count, channels, height, width = flat.shape
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, channels, height + gap, width + gap), np.uint8)
    tiles[:count, :, :height, :width] = flat

    tiles = tiles.reshape(rows, columns, *tiles.shape[1:])
    sheet: NDArray[np.uint8]
    if channels == 3:
        sheet = tiles.transpose(0, 3, 1, 4, 2).reshape(rows * (height + gap), -1, 3)
    else:
        sheet = tiles.transpose(0, 3, 1, 2, 4).reshape(rows * (height + gap), -1)
    return Image.fromarray(sheet[: len(sheet) - gap, : sheet.shape[1] - gap])


def labelled_sheet(
    rows: Mapping[str, Float[Tensor, "count channel *space"]], values: ValueRange, *, captions: Sequence[str] = ()
) -> Image.Image:
    """Lay rows of images in [-1, 1] below one another, each with its label, as many as the shortest row has.

    Each column stands under its caption, if there are any; below is a scale of what the grey levels mean.
    """
    shown = min(len(images) for images in rows.values())
    levels = np.concatenate([to_grey_levels(images[:shown]) for images in rows.values()])
    sheet = contact_sheet(levels, columns=shown)
    enlarged = math.ceil(LEAST_TILE * shown * num_planes(levels.shape) / sheet.width)
    sheet = sheet.resize((sheet.width * enlarged, sheet.height * enlarged), Image.Resampling.NEAREST)

    head = LINE if captions else 0
    labelled = Image.new(sheet.mode, (sheet.width + MARGIN, head + sheet.height + LINE))
    labelled.paste(sheet, (MARGIN, head))
    draw = ImageDraw.Draw(labelled)
    font = ImageFont.load_default(FONT_SIZE)
    for row, label in enumerate(rows):
        draw.text((4, head + (row + 0.5) * sheet.height / len(rows)), label, fill="white", anchor="lm", font=font)
    for column, caption in enumerate(captions[:shown]):
        draw.text(
            (MARGIN + (column + 0.5) * sheet.width / shown, head / 2), caption, fill="white", anchor="mm", font=font
        )
    _draw_scale(labelled, draw, values)
    return labelled


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, values: ValueRange) -> None:
    """Draw black to white, with the values at both ends, into the sheet's last line."""
    font, middle = ImageFont.load_default(FONT_SIZE), sheet.height - LINE / 2
    low, high = f"{values.low:g}", f"{values.high:g} {values.unit}"
    left = MARGIN + round(font.getlength(low)) + 6
    ramp = Image.linear_gradient("L").rotate(90).resize((SCALE_WIDTH, LINE // 2))
    sheet.paste(ramp.convert(sheet.mode), (left, round(middle) - LINE // 4))
    draw.text((left - 6, middle), low, fill="white", anchor="rm", font=font)
    draw.text((left + SCALE_WIDTH + 6, middle), high, fill="white", anchor="lm", font=font)


def _middle_planes(
    volumes: UInt8[np.ndarray, "count channel slices rows columns"],
) -> UInt8[np.ndarray, "count channel height width"]:
    """Lay each volume's middle planes side by side: axial, coronal, sagittal.

    Volumes count to the left, the back and the head (LPS): the face is up in the first, the head in the others.
    """
    slices, rows, columns = volumes.shape[2:]
    head_up = volumes[:, :, ::-1]
    planes = (volumes[:, :, slices // 2], head_up[:, :, :, rows // 2], head_up[..., columns // 2])
    height = max(slices, rows)
    above = [(height - plane.shape[2]) // 2 for plane in planes]
    return np.concatenate(
        [
            np.pad(plane, [(0, 0), (0, 0), (margin, height - plane.shape[2] - margin), (0, 0)])
            for plane, margin in zip(planes, above, strict=True)
        ],
        axis=3,
    )
