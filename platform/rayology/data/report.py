"""What a preparation made of a source, as one page to look at: counts, refusals, histogram and pictures."""

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rayology.atomic import write_atomic
from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.splits import SplitName
from rayology.picture import contact_sheet, to_grey_levels

__all__ = ["report_file", "write_report"]

MAX_SHOWN = 64
"""How many images the sheet shows, evenly over the training split."""
MAX_COUNTED = 2000
"""How many images of a split the histogram counts, evenly over it."""
VALUES_AT_ONCE = 2**26
"""How many values the histogram reads together: 256 images of 512 x 512, in 128 MiB."""
BINS = 64
SHOWN_SPLITS: tuple[SplitName, ...] = ("train", "validation")  # looking at test images would spend them
WIDTH, HEIGHT = 640, 160
COLORS = {"train": "#2563eb", "validation": "#d97706"}

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }}
table {{ border-collapse: collapse; margin: 0.5rem 0 1.5rem }}
td, th {{ border-bottom: 1px solid #e5e7eb; padding: 0.2rem 0.9rem 0.2rem 0; text-align: left }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
img {{ width: 100%; image-rendering: pixelated; background: black }}
.note {{ background: #fef3c7; padding: 0.5rem 1rem }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def report_file(data: PreparedDataset) -> Path:
    """Return where the page of a dataset lies: in ``reports`` beside ``datasets``."""
    return data.path.parents[1] / "reports" / f"{data.info.fingerprint}.html"


def write_report(data: PreparedDataset) -> None:
    """Write the page, which its owner alone may read: it shows images of patients, though no name."""
    info = data.info
    splits: dict[str, Split] = {name: data.split(name) for name in SHOWN_SPLITS}
    counts = info.counts
    rows = [
        ("images", counts.images),
        ("patients", info.patients if info.patients < counts.images else f"{info.patients}, one an image"),
        ("files", counts.files),
        ("files skipped", counts.skipped),
        *((f"left out: {what}", count) for what, count in counts.left_out.items()),
        *counts.doubts.items(),
        ("clipped share of the foreground", f"{info.clipped_share:.2%}"),
    ]
    body = [
        f'<p class="note">Every figure on this dataset: {_safe(info.note)}.</p>' if info.note else "",
        "<h2>Counts</h2>",
        _table(rows),
        *(f"<h2>By {_safe(what)}</h2>{_table(counted.items())}" for what, counted in info.found.items()),
        "<h2>Splits</h2>",
        _splits(info),
        "<h2>Files left out, wholly or in part</h2>",
        _table(info.reasons.items()) if info.reasons else "<p>None.</p>",
        *([f"<h2>Mended series</h2>{_table(info.mended.items())}"] if info.mended else []),
        f"<h2>Intensities ({_safe(info.image.values.unit)})</h2>",
        _histogram(splits, info),
        f"<h2>{min(MAX_SHOWN, len(splits['train']))} training images</h2>",
        _sheet(splits["train"]),
    ]
    title = f"Dataset {info.fingerprint}: {info.modality or 'images'}"
    write_atomic(report_file(data), PAGE.format(title=_safe(title), body="\n".join(body)).encode())


def _table(rows: Iterable[tuple[object, object]]) -> str:
    cells = (f'<tr><td>{_safe(name)}</td><td class="number">{_safe(value)}</td></tr>' for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _splits(info: DatasetInfo) -> str:
    head = "".join(f"<th>{_safe(name)}</th>" for name in ("split", "images", "patients", *info.image.classes))
    rows = (
        f"<td>{_safe(name)}</td>"
        + "".join(
            f'<td class="number">{_safe(count)}</td>'
            for count in (held.images, held.patients, *(held.classes.get(each, 0) for each in info.image.classes))
        )
        for name, held in info.splits.items()
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _histogram(splits: Mapping[str, Split], info: DatasetInfo) -> str:
    """Draw how many pixels each level has, scaled to the fullest but the darkest: air would dwarf the rest."""
    values = info.image.values
    lines = []
    for name, split in splits.items():
        counts = _counts(split)
        heights = HEIGHT * (1 - np.minimum(counts / max(counts[1:].max(), 1), 1))
        points = " ".join(f"{WIDTH * (bin_ + 0.5) / BINS:.1f},{height:.1f}" for bin_, height in enumerate(heights))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>')
        lines.append(
            f'<text x="{WIDTH - 90}" y="{16 * (1 + len(lines) // 2)}" fill="{COLORS[name]}">{_safe(name)}</text>'
        )
    scale = f"<p>From {values.low:g} on the left to {values.high:g} on the right.</p>"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img">{"".join(lines)}</svg>{scale}'


def _counts(split: Split) -> NDArray[np.int64]:
    """Return how many values of a split lie in each bin, read in parts: a volume has as many as hundreds of images."""
    image, chosen = split.info.image, _evenly(len(split), MAX_COUNTED)
    parts = np.array_split(chosen, 1 + len(chosen) * math.prod(image.shape) // VALUES_AT_ONCE)
    levels = (0, image.values.levels - 1)
    counts = [np.histogram(split.stored(part), bins=BINS, range=levels)[0] for part in parts]
    return np.sum(counts, axis=0, dtype=np.int64)


def _sheet(split: Split) -> str:
    levels = to_grey_levels(split.images(_evenly(len(split), MAX_SHOWN)))
    stream = io.BytesIO()
    contact_sheet(levels).save(stream, "PNG")
    return f'<img alt="Training images" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def _evenly(length: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))


def _safe(value: object) -> str:
    return html.escape(str(value))
