"""Examine a bundle on a split of the dataset that it was trained on, beside what costs nothing to train.

python jobs/evaluate.py --bundle .rayology/runs/NAME/bundle --split test

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/evaluate.py --bundle /shared/rayology/runs/NAME/bundle --storage /shared/rayology
"""

from collections.abc import Mapping
from typing import Any

from rayology.job import run
from rayology.progress import console
from rayology.training.examination import ExaminationConfig, examine


def main(config: ExaminationConfig) -> Mapping[str, Any]:
    """Return the figures and where the pictures lie."""
    examination = examine(config)
    console.print(examination.table())
    pictures = {picture.stem: picture for picture in examination.pictures}
    return {"figures": examination.figures, "note": examination.note, "pictures": pictures}


if __name__ == "__main__":
    run(ExaminationConfig, main)
