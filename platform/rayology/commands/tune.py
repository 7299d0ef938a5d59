"""Search architectures and learning rates, and make the best model the champion if it is better than that.

rayology tune FILE.yaml --storage /data/rayology --search.num-trials 16
rayology tune FILE.yaml --search.narrow '{"model.kind": ["vae", "gan"]}' --schedule.steps 1000
rayology tune FILE.yaml --search.show-space
rayology tune --resume last
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict

from rayology.atomic import write_atomic
from rayology.errors import ConfigError, SearchError
from rayology.experiment import Experiment
from rayology.interruption import interruptible
from rayology.preflight import begin
from rayology.progress import console
from rayology.search.marks import dimensions
from rayology.search.page import sweep_page
from rayology.search.results import SweepResult, promote_best, table, write_table
from rayology.search.space import Space
from rayology.search.space_tree import num_combinations, tree
from rayology.search.study import search
from rayology.search.warm_start import keep, require_known
from rayology.session import on_cluster, prepared
from rayology.training.promotion import Promotion
from rayology.training.run import SUMMARY
from rayology.usage import typed

PAGE = "sweep.html"


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return the sweep, its best model with its figures, and whether that is the champion now."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # it misses files that trials are told not to write
    if experiment.search.show_space and experiment.resume:
        raise ConfigError("search.show_space: leave out --resume; a sweep keeps the space that it began with")
    begins = experiment.resume in {"", "auto"}
    space = Space(dimensions(experiment)) if begins else None  # refuses a narrowing that is wrong
    if space and experiment.search.show_space:
        console.print(tree(space), markup=False, highlight=False)
        return {"dimensions": len(space.dimensions), "combinations": num_combinations(space)}
    if experiment.search.finish and not experiment.resume:
        raise ConfigError("search.finish: a new sweep has nothing to finish; name the one to end with --resume")
    if space and experiment.search.num_trials > 1 and space.is_single_point:
        raise ConfigError("search.narrow: leaves a single point, so that nothing is searched; leave some of it out")
    if experiment.search.cold and experiment.search.warm_start:
        raise ConfigError("search.cold: begins without earlier sweeps, and search.warm_start names some; leave one out")
    require_known(experiment)
    sweep = begin(experiment, "sweeps")
    going_on = typed("tune", "--storage", str(sweep.experiment.storage), "--resume", sweep.folder.name)
    with interruptible(going_on), on_cluster():
        data = prepared(sweep.experiment)
        found = search(sweep, data)
    keep(found, data.info)
    console.print(table(found))
    console.print(found.verdict, markup=False, highlight=False, soft_wrap=True)
    write_atomic(sweep.folder / PAGE, sweep_page(found), mode=0o666)
    try:
        best = promote_best(found)
    except SearchError:
        write_table(found, sweep.folder / SUMMARY)
        raise
    write_table(found, sweep.folder / SUMMARY)  # from now on it has ended
    if not best.promotion.is_champion:
        console.print(best.promotion.refusal, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(_following(found, best.promotion), markup=False, highlight=False, soft_wrap=True)
    metrics = best.bundle.manifest.metrics
    return {
        "sweep": sweep.folder,
        "page": sweep.folder / PAGE,
        "bundle": best.bundle.path,
        "metrics": metrics,
        "finalists": [asdict(standing) for standing in found.standings],
        "told_apart": found.is_told_apart,
        **best.promotion.answer(),
    }


def _following(found: SweepResult, promotion: Promotion) -> str:
    """Say what one may do next: look at the sweep, serve its champion, or search on."""
    wanted = found.experiment
    served = json.dumps([{"args": {"store": promotion.store, "model": promotion.model}}])
    longer = ("--search.num-trials", str(2 * max(wanted.search.num_trials, found.num_ended)))
    return "\n".join(
        [
            f"Next: look at {found.folder / PAGE}",
            f"or serve the champion, with RAYOLOGY_TOKEN set: {typed('serve', '--applications', served)}",
            f"or search on: {typed('tune', '--storage', str(wanted.storage), '--resume', found.folder.name, *longer)}",
        ]
    )
