"""Train one model on as many workers as the experiment asks for, and write it as a bundle.

rayology train FILE.yaml --storage /data/rayology --scaling.num-workers 2
rayology train FILE.yaml --model.kind gan --schedule.steps 4000 --schedule.batch-size 32
rayology train --resume last
rayology train --resume last --schedule.steps 8000
rayology train --help --model.kind gan --source.kind folder
"""

import shutil
from collections.abc import Mapping

from rayology.bundle import Bundle
from rayology.errors import ConfigError, DataError
from rayology.experiment import Experiment
from rayology.gates import refusals
from rayology.interruption import interruptible
from rayology.metrics.figures import as_table
from rayology.preflight import begin
from rayology.progress import console
from rayology.session import on_cluster, prepared, watching_run
from rayology.training.cluster import train
from rayology.training.run import Run, in_sole_use
from rayology.usage import typed


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return the run, its bundle and the bundle's figures."""
    run = begin(experiment, "runs")
    storage = run.experiment.storage
    with interruptible(typed("train", "--storage", str(storage), "--resume", run.folder.name)):
        bundle = trained(run)
    metrics, steps = bundle.manifest.metrics, bundle.manifest.provenance.steps
    console.print(as_table(metrics, caption=f"On the validation split, after {steps} steps"))
    following = typed("publish", "--bundle", str(bundle.path), "--store", f"{storage}/store", "--storage", str(storage))
    said = "; ".join(refusals(bundle.manifest)) or f"Next: {following}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    return {"run": run.folder.name, "bundle": bundle.path, "metrics": metrics}


def trained(run: Run) -> Bundle:
    """Take the steps that are left, and return the bundle."""
    if bundle := run.finished():
        steps = run.experiment.schedule.steps
        console.print(f"{run.folder.name} took all its {steps} steps before: nothing is left to do.", highlight=False)
        return bundle
    with in_sole_use(run.folder), on_cluster():
        try:
            data = prepared(run.experiment)
            with watching_run(run):
                return train(run, data)
        except (ConfigError, DataError):  # before the first step, so that nobody could go on with it
            if not run.is_resumed:
                shutil.rmtree(run.folder, ignore_errors=True)
            raise
