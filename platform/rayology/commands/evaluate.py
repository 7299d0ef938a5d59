"""Examine a bundle on a split of the dataset that it was trained on, beside what costs nothing to train.

rayology evaluate --bundle .rayology/runs/NAME/bundle --split test
"""

from collections.abc import Mapping
from typing import Any

from rayology.progress import console
from rayology.training.examination import ExaminationConfig, examine


def main(config: ExaminationConfig) -> Mapping[str, Any]:
    """Return the figures and where the pictures lie."""
    examination = examine(config)
    console.print(examination.table())
    pictures = {picture.stem: picture for picture in examination.pictures}
    return {"figures": examination.figures, "note": examination.note, "pictures": pictures}
