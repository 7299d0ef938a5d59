"""One self-contained HTML page for people: headings, tables and pictures, with nothing to fetch."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

from PIL import Image

__all__ = ["image", "note", "page", "safe", "table"]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }}
table {{ border-collapse: collapse; margin: 0.5rem 0 1.5rem }}
td, th {{ border-bottom: 1px solid #e5e7eb; padding: 0.2rem 0.9rem 0.2rem 0; text-align: left; vertical-align: top }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
img {{ width: 100%; image-rendering: pixelated; background: black }}
figure svg {{ width: 100%; height: auto }}
figure {{ margin: 0 0 1rem; max-width: 66rem }}
.note {{ background: #fef3c7; padding: 0.5rem 1rem }}
.row {{ display: flex; gap: 1rem }}
.row > * {{ flex: 0 1 18rem }}
.trial:hover path {{ stroke: #dc2626 !important; stroke-width: 4 !important; opacity: 1 !important }}
pre {{ background: #f3f4f6; padding: 0.5rem 1rem; overflow-x: auto }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def page(title: str, body: Iterable[str]) -> bytes:
    """Return a page under a title; the parts of the body are HTML already."""
    return PAGE.format(title=safe(title), body="\n".join(body)).encode()


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = ()) -> str:
    """Return a table, its numbers aligned to the right."""
    heading = f"<tr>{''.join(f'<th>{safe(name)}</th>' for name in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{heading}{body}</table>"


def image(picture: Image.Image, *, alt: str) -> str:
    """Return a picture as a part of the page."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return f'<img alt="{safe(alt)}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def note(text: str) -> str:
    """Return a sentence that stands out; nothing if it is empty."""
    return f'<p class="note">{safe(text)}</p>' if text else ""


def safe(value: object) -> str:
    """Return a value as text that cannot change the page."""
    return html.escape(str(value))


def _cell(value: object) -> str:
    return f'<td class="number">{value}</td>' if isinstance(value, int | float) else f"<td>{safe(value)}</td>"
