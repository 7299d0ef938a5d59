"""Search architectures and learning rates, and make the best model the champion if it is better than that.

python jobs/tune.py jobs/experiments/phantom.yaml --search.num-trials 16
python jobs/tune.py --resume last

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/tune.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

from collections.abc import Mapping

from rayology.experiment import Experiment
from rayology.job import on_cluster, prepared, run
from rayology.progress import console
from rayology.search.results import plot, promote_best, table, write_table
from rayology.search.study import search
from rayology.training.run import open_run


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return the sweep, its best model with its figures, and whether that is the champion now."""
    with on_cluster():
        sweep = open_run(experiment, "sweeps")
        trials = search(sweep, prepared(sweep.experiment))
    objective = sweep.experiment.search.objective
    console.print(table(trials, objective=objective))
    write_table(trials, sweep.folder / "sweep.txt", objective=objective)
    plot(trials, sweep.folder / "sweep.png", objective=objective)
    best = promote_best(trials, sweep.experiment)
    if not best.promotion.is_champion:
        console.print(best.promotion.refusal, style="yellow", markup=False, highlight=False, soft_wrap=True)
    metrics = best.bundle.manifest.metrics
    return {"sweep": sweep.folder, "bundle": best.bundle.path, "metrics": metrics, **best.promotion.answer()}


if __name__ == "__main__":
    run(Experiment, main)
