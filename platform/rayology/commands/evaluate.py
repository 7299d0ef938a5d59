"""Evaluate a bundle on a split of the dataset that it was trained on, next to what costs nothing to train.

rayology evaluate --bundle .rayology/runs/NAME/bundle --split test
"""

from collections.abc import Mapping
from typing import Any

from rayology.metrics.figures import as_table
from rayology.progress import console, progress_bar
from rayology.training.evaluation_report import EvaluateConfig, evaluate


def main(config: EvaluateConfig) -> Mapping[str, Any]:
    """Return the figures, and where the page and the pictures lie."""
    with progress_bar("evaluate", "reading the bundle and the images") as bar:
        report = evaluate(config, tell=bar.advance)
    console.print(as_table(report.figures, caption=report.note))
    console.print(f"To look at: {report.page}", soft_wrap=True, highlight=False, markup=False)
    return {"figures": report.figures, "note": report.note, "page": report.page, "pictures": report.pictures}
