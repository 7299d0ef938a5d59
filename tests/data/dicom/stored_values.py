"""The values that a file stores, as conformance tests compare them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom.header import read_header
from rayology.data.dicom.layout import layout
from rayology.data.dicom.pixels import stored_frames, to_rgb
from rayology.data.suppression import suppress_output


def stored(file: Path) -> NDArray[np.generic]:
    """Return stored values, (frames, rows, columns, samples), with bits and sign corrected and YBR as RGB."""
    with file.open("rb") as stream, suppress_output():
        dataset = read_header(stream, require_preamble=False)
        found = layout(dataset)
        frames = [decode_frame() for decode_frame in stored_frames(dataset, found)]
        in_palette = found.photometric == "PALETTE COLOR"
        return np.stack(frames if in_palette else [to_rgb(dataset, found, frame) for frame in frames])
