"""What mattered in a sweep: the dimensions in which its best trials differ from the others."""

import warnings
from collections import defaultdict
from dataclasses import replace

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from rayology.search.ranking import history
from rayology.search.results import SweepResult
from rayology.search.space import Value

__all__ = ["FEWEST", "importances"]

FEWEST = 10  # trials that a dimension is open to: fewer tell chance from effect for none
BEST = 0.25  # share of the trials that count as the best


def importances(found: SweepResult) -> dict[str, float]:
    """Return the share of each dimension in what tells the best quarter of the trials from all (Watanabe et al. 2023).

    Trials that were stopped or diverged count by how far they came, so none is lost; several objectives count by the
    first. A dimension that is open to few trials is left out, and if few ended there are none at all.
    """
    tried = [
        replace(trial, losses=trial.losses[:1])
        for trial in found.explored
        if trial.outcome not in {"", "failed", "rejected"}
    ]
    values: dict[str, list[Value]] = defaultdict(list)
    for trial in tried:
        for name, value in trial.point.items():
            values[name].append(value)
    names = [name for name, each in values.items() if len(each) >= FEWEST and len(set(each)) > 1]
    if not names:
        return {}
    space = found.space
    points, ranks = history(tried, np.random.default_rng(0))
    study = optuna.create_study()
    for point, rank in zip(points, ranks, strict=True):
        open_to_it = space.distributions(point)
        params = {name: point[name] for name in open_to_it}
        study.add_trial(optuna.create_trial(params=params, distributions=open_to_it, value=rank))
    with warnings.catch_warnings(action="ignore"):  # of kinds that few trials have
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
        return get_param_importances(study, evaluator=evaluator, params=names)
