"""What a preparation made of a source, as one page to look at: counts, refusals, histogram and pictures."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rayology.atomic import write_atomic
from rayology.data.dataset import PreparedDataset, Split
from rayology.data.splits import SplitName
from rayology.image import ValueRange
from rayology.page import image, note, page, safe, table
from rayology.picture import contact_sheet, to_grey_levels

__all__ = ["report_file", "write_report"]

MAX_SHOWN = 64
"""How many images the sheet shows, evenly over the training split."""
MAX_COUNTED = 2000
"""How many images of a split the histogram counts, evenly over it."""
VALUES_AT_ONCE = 2**26
"""How many values the histogram reads together: 256 images of 512 x 512, in 128 MiB."""
BINS = 64
WIDTH, HEIGHT = 640, 160
COLORS: Mapping[SplitName, str] = {"train": "#2563eb", "validation": "#d97706", "test": "#059669"}


def report_file(data: PreparedDataset) -> Path:
    """Return where the page of a dataset lies: in ``reports`` next to ``datasets``."""
    return data.path.parents[1] / "reports" / f"{data.info.fingerprint}.html"


def write_report(data: PreparedDataset) -> None:
    """Write the page, which its owner alone may read: it shows images of patients, though no name."""
    info = data.info
    train = data.split("train")
    counts = info.counts
    rows = [
        ("images", counts.images),
        ("patients", info.patients if info.patients < counts.images else f"{info.patients}, one an image"),
        ("files", counts.files),
        ("files skipped", counts.skipped),
        *((f"left out: {what}", count) for what, count in counts.left_out.items()),
        *counts.doubts.items(),
        *((f"images: {what}", count) for what, count in info.changed.items()),
        ("clipped share of the foreground", f"{info.clipped_share:.2%}"),
    ]
    classes = info.image.classes
    splits_rows = [
        (name, held.images, held.patients, *(held.classes.get(each, 0) for each in classes))
        for name, held in info.splits.items()
    ]
    body = [
        note(f"Every figure on this dataset: {info.note}." if info.note else ""),
        "<h2>Counts</h2>",
        table(rows),
        *(f"<h2>By {safe(what)}</h2>{table(counted.items())}" for what, counted in info.found.items()),
        "<h2>Splits</h2>",
        table(splits_rows, head=("split", "images", "patients", *classes)),
        "<h2>Files left out, wholly or in part</h2>",
        table(info.reasons.items()) if info.reasons else "<p>None.</p>",
        *([f"<h2>Mended series</h2>{table(info.mended.items())}"] if info.mended else []),
        "<h2>Intensities</h2>",
        _histogram({name: data.split(name) for name in info.splits}, info.image.values),
        f"<h2>{min(MAX_SHOWN, len(train))} training images</h2>",  # looking at test images would spend them
        image(contact_sheet(to_grey_levels(train.images(_evenly(len(train), MAX_SHOWN)))), alt="Training images"),
    ]
    title = f"{info.modality or 'Images'} from {info.source['kind']}: dataset {info.fingerprint}"
    write_atomic(report_file(data), page(title, body))


def _histogram(splits: Mapping[SplitName, Split], values: ValueRange) -> str:
    """Draw the share of the pixels at each value, up to the fullest bin but the darkest: air would dwarf the rest."""
    counted = {name: _counts(split) for name, split in splits.items()}
    shares = {name: counts / counts.sum() for name, counts in counted.items()}
    highest = max(1e-6, *(float(each[1:].max()) for each in shares.values()))
    lines = [_text(-8, HEIGHT * (1 - tick) + 4, f"{tick * highest:.2%}", anchor="end") for tick in (0.0, 0.5, 1.0)]
    for place, (name, each) in enumerate(shares.items(), 1):
        heights = HEIGHT * (1 - np.minimum(each / highest, 1))
        points = " ".join(f"{WIDTH * (bin_ + 0.5) / BINS:.1f},{height:.1f}" for bin_, height in enumerate(heights))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>')
        lines.append(_text(WIDTH - 90, 16 * place, name, color=COLORS[name]))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = values.low + tick * (values.high - values.low)
        lines.append(_text(tick * WIDTH, HEIGHT + 16, f"{value:g}", anchor="middle"))
        lines.append(f'<path d="M{tick * WIDTH:.0f} {HEIGHT}v4" stroke="#9ca3af"/>')
    lines.append(f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="#9ca3af"/>')
    lines.append(_text(WIDTH / 2, HEIGHT + 34, values.unit, anchor="middle"))
    first = ", ".join(f"{each[0]:.0%}" for each in shares.values())
    lines.append(_text(-8, -10, f"share of the pixels, in each of {BINS} bins"))
    lines.append(_text(WIDTH, -10, f"the first bin, cut off, holds {first}", anchor="end"))
    return f'<svg viewBox="-64 -26 {WIDTH + 96} {HEIGHT + 66}" width="100%" role="img">{"".join(lines)}</svg>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", color: str = "#1f2937") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="{anchor}" fill="{color}">{safe(words)}</text>'


def _counts(split: Split) -> NDArray[np.int64]:
    """Return how many values of a split lie in each bin, read in parts: a volume has as many as hundreds of images."""
    image, chosen = split.info.image, _evenly(len(split), MAX_COUNTED)
    parts = np.array_split(chosen, 1 + len(chosen) * math.prod(image.shape) // VALUES_AT_ONCE)
    levels = (0, image.values.levels - 1)
    counts = [np.histogram(split.stored(part), bins=BINS, range=levels)[0] for part in parts]
    return np.sum(counts, axis=0, dtype=np.int64)


def _evenly(length: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))
