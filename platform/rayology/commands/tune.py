"""Search architectures and learning rates, and make the best model the champion if it is better than that.

rayology tune FILE.yaml --storage /data/rayology --search.num-trials 16
rayology tune FILE.yaml --search.narrow '{"model.kind": ["vae", "gan"]}' --schedule.steps 1000
rayology tune --resume last
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict

from rayology.experiment import Experiment
from rayology.interruption import interruptible
from rayology.preflight import begin
from rayology.progress import console
from rayology.search.memory import keep, require_known
from rayology.search.results import plot, promote_best, table, write_table
from rayology.search.space import dimensions
from rayology.search.study import search
from rayology.session import on_cluster, prepared
from rayology.training.run import SUMMARY
from rayology.usage import typed


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return the sweep, its best model with its figures, and whether that is the champion now."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # it misses files that trials are told not to write
    dimensions(experiment)  # refuses a narrowing that is wrong
    require_known(experiment)
    sweep = begin(experiment, "sweeps")
    going_on = typed("tune", "--storage", str(sweep.experiment.storage), "--resume", sweep.folder.name)
    with interruptible(going_on), on_cluster():
        data = prepared(sweep.experiment)
        found = search(sweep, data)
    keep(found, data.info)
    console.print(table(found))
    console.print(found.verdict, markup=False, highlight=False, soft_wrap=True)
    write_table(found, sweep.folder / SUMMARY)
    plot(found, sweep.folder / "sweep.png")
    best = promote_best(found)
    if not best.promotion.is_champion:
        console.print(best.promotion.refusal, style="yellow", markup=False, highlight=False, soft_wrap=True)
    metrics = best.bundle.manifest.metrics
    return {
        "sweep": sweep.folder,
        "bundle": best.bundle.path,
        "metrics": metrics,
        "finalists": [asdict(standing) for standing in found.standings],
        "told_apart": found.is_told_apart,
        **best.promotion.answer(),
    }
