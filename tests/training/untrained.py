"""Bundles of models that nobody trained: enough to be compared."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.training.evaluation import Evaluator


def untrained(
    folder: Path,
    experiment: Experiment,
    data: PreparedDataset,
    *,
    seed: int = 0,
    dataset: str = "",
    metrics: Mapping[str, float] = MappingProxyType({}),
) -> Bundle:
    """Write a bundle that says it was trained on the data, unless another dataset is named."""
    torch.manual_seed(seed)
    return write_bundle(
        folder,
        experiment=experiment,
        model=experiment.model.build(data.info.image),
        metrics={"copies": 0.0, **metrics},
        provenance=provenance_of(
            dataset=dataset or data.info.fingerprint, note="", seed=0, steps=experiment.schedule.steps
        ),
    )


def ranked(folder: Path, experiment: Experiment, data: PreparedDataset, *, by: str = "mmd") -> list[Bundle]:
    """Write two bundles, that with the lower figure first."""
    evaluator = Evaluator(0, data, torch.device("cpu"))
    bundles = [untrained(folder / str(seed), experiment, data, seed=seed) for seed in (1, 2)]
    return sorted(bundles, key=lambda bundle: evaluator.quick(bundle.build())[by])
