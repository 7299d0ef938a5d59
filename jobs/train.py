"""Train one model on as many workers as the experiment asks for, and write it as a bundle.

python jobs/train.py jobs/experiments/phantom.yaml --scaling.num-workers 2
python jobs/train.py --resume last

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/train.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

import shlex
from collections.abc import Mapping

from rayology.experiment import Experiment
from rayology.job import on_cluster, prepared, run, watching_run
from rayology.progress import console
from rayology.training.cluster import train
from rayology.training.run import open_run


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return the run, its bundle and the bundle's figures."""
    with on_cluster():
        started = open_run(experiment, "runs")
        data = prepared(started.experiment)
        with watching_run(started):
            bundle = train(started, data)
    storage = started.experiment.storage
    flags = ["--bundle", str(bundle.path), "--store", f"{storage}/store", "--storage", str(storage)]
    following = shlex.join(["python", "jobs/publish.py", *flags])
    console.print(f"Next: {following}", markup=False, highlight=False, soft_wrap=True)
    return {"run": started.folder.name, "bundle": bundle.path, "metrics": bundle.manifest.metrics}


if __name__ == "__main__":
    run(Experiment, main)
