"""Prepare a source: decode it once, bring it to one size and range, split it by patient.

python jobs/prepare.py jobs/experiments/phantom.yaml

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/prepare.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

from collections.abc import Mapping

from rayology.experiment import Experiment
from rayology.job import on_cluster, prepared, run


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return where the dataset lies and what it holds."""
    with on_cluster():
        data = prepared(experiment)
    return {"dataset": data.path, "images": data.info.counts.images, "reused": data.reused, "note": data.info.note}


if __name__ == "__main__":
    run(Experiment, main)
