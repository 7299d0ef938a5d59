"""Which version of a model is its champion: gates first, then the newcomer and the champion on the same images."""

import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from rayology.bundle import Bundle, Manifest
from rayology.data import PreparedDataset
from rayology.errors import BundleError, DataError, StoreError
from rayology.gates import require_gates
from rayology.image import ImageSpec
from rayology.metrics import METRICS, Metric, loss_of
from rayology.models import Model
from rayology.store import Store
from rayology.training.evaluation import Evaluator

__all__ = [
    "Promotion",
    "VersionComparison",
    "admitted",
    "compare",
    "objective_of",
    "promote",
    "promote_if_better",
]

logger = logging.getLogger(__name__)

Verdict = Literal["first", "same", "better", "equal", "worse", "incomparable"]
"""How a version compares with the champion; for the first there is none, and the same is the champion itself."""


@dataclass(frozen=True)
class VersionComparison:
    """Result of comparing a version with another one."""

    verdict: Verdict
    sentence: str
    """Both figures, on which images, and which is better by how much; or why there are none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures of the objective for the version, with the interval if it has one."""
    others_figures: Mapping[str, float] = field(default_factory=dict)
    """Figures of the objective for the other version."""


@dataclass(frozen=True)
class Promotion:
    """Outcome of promoting a version."""

    store: str
    """URI of the store."""
    model: str
    version: str
    champion: str
    """The champion now."""
    before: str
    """The champion before; empty if there was none."""
    comparison: VersionComparison

    @property
    def is_champion(self) -> bool:
        """Whether the version is the champion now."""
        return self.version == self.champion

    @property
    def refusal(self) -> str:
        """Why the version is not the champion, and the command that promotes it anyway."""
        flags = ["--action", "promote", "--store", self.store, "--name", self.model, "--version", self.version]
        command = shlex.join(["rayology", "models", *flags, "--force"])
        return (
            f"{self.version}: is not promoted: {self.comparison.sentence}. {self.champion} stays the champion of "
            f"{self.model}. To promote the other anyway: {command}"
        )

    def answer(self) -> dict[str, object]:
        """Return what a job prints about it."""
        found = self.comparison
        return {
            "store": self.store,
            "name": self.model,
            "version": self.version,
            "promoted": self.is_champion,
            "champion": self.champion,
            "before": self.before,
            "verdict": found.verdict,
            "why": found.sentence,
            "figures": found.figures,
            "figures_before": found.others_figures,
        }


def admitted(store: Store, name: str, version: str) -> Bundle:
    """Return a version that may answer requests: it is whole, and no gate refuses it.

    Raises:
        StoreError: there is no such version, or a gate refuses it.
        BundleError: it is damaged.
    """
    bundle = Bundle.load(store.fetch(name, version))
    require_gates(bundle)
    return bundle


def promote(store: Store, name: str, version: str, *, storage: Path, force: bool = False) -> Promotion:
    """Make a version the champion if it is better on the same images, or whenever ``force`` is set.

    Raises:
        StoreError: there is no such version, a gate refuses it, which ``force`` does not overrule, or it is no better
            than the champion, or cannot be compared with it.
        BundleError: the version is damaged.
    """
    promotion = promote_if_better(store, name, version, storage=storage, force=force)
    if not promotion.is_champion:
        raise StoreError(promotion.refusal)
    return promotion


def promote_if_better(store: Store, name: str, version: str, *, storage: Path, force: bool = False) -> Promotion:
    """Do as ``promote``, but leave the champion as it is without an error if the version is no better.

    ``storage`` holds the prepared dataset on whose validation split the two are compared.
    """
    bundle = admitted(store, name, version)
    before = store.champion_or_none(name) or ""
    comparison = _against_champion(store, name, version, before, bundle=bundle, storage=storage)
    match comparison.verdict:
        case "first" | "better":
            logger.info("%s: %s.", version, comparison.sentence)
        case "same":
            logger.info("%s: %s.", version, comparison.sentence)
            return Promotion(store.uri, name, version, before, before, comparison)
        case _ if force:
            logger.warning("%s: %s; promoted anyway, because of --force.", version, comparison.sentence)
        case _:
            return Promotion(store.uri, name, version, before, before, comparison)
    if (store.champion_or_none(name) or "") != before:  # another promotion came first: compare with that one
        return promote_if_better(store, name, version, storage=storage, force=force)
    store.set_champion(name, version)
    return Promotion(store.uri, name, version, version, before, comparison)


def compare(bundle: Bundle, other: Bundle, *, called: str, storage: Path) -> VersionComparison:
    """Compare two bundles on the same images, by the objective of the first one's experiment.

    If its model cannot have that figure, the first metric that it can have stands in.

    The images are those of the validation split of the dataset that both were trained on; samples of both are drawn
    for their labels from one seed. ``called`` names the other one in the sentence.

    Raises:
        BundleError: the weights of the first one do not fit its model.
    """
    mine, others = bundle.manifest, other.manifest
    if obstacle := _obstacle(mine, others, storage):
        return _incomparable(called, obstacle)
    metric, model = _metric_of(mine), bundle.build()
    try:
        data = PreparedDataset.open(_dataset(mine, storage))
        evaluator = Evaluator(mine.provenance.seed, data, torch.device("cpu"))
        figures, others_figures = (_measured(evaluator, each, metric) for each in (model, other.build()))
    except (BundleError, DataError) as error:
        return _incomparable(called, str(error))
    return _weighed(metric, figures, others_figures, called=called, num_images=len(evaluator.unseen))


def objective_of(manifest: Manifest) -> str:
    """Return the objective of a model's experiment; empty if the manifest does not name it."""
    search = manifest.experiment.get("search")
    return str(search.get("objective", "")) if isinstance(search, dict) else ""


def _against_champion(
    store: Store, name: str, version: str, champion: str, *, bundle: Bundle, storage: Path
) -> VersionComparison:
    if not champion:
        return VersionComparison("first", f"it is the first champion of {name}")
    if version == champion:
        return VersionComparison("same", f"it is the champion of {name} already")
    called = f"the champion {champion}"
    try:
        other = Bundle.load(store.fetch(name, champion))
    except (BundleError, StoreError) as error:
        return _incomparable(called, str(error))
    return compare(bundle, other, called=called, storage=storage)


def _incomparable(called: str, reason: str) -> VersionComparison:
    return VersionComparison("incomparable", f"it cannot be compared with {called}: {reason}")


def _dataset(manifest: Manifest, storage: Path) -> Path:
    return storage.expanduser().absolute() / "datasets" / manifest.provenance.dataset


def _obstacle(mine: Manifest, others: Manifest, storage: Path) -> str:
    """Say why two models cannot be compared; empty if they can."""
    if objective_of(mine) not in METRICS:
        return f"its objective {objective_of(mine)!r} is not the name of a metric"
    metric = _metric_of(mine)
    if metric.needs not in others.capabilities:
        return f"it is judged by {metric.name}, and the other cannot {metric.needs}"
    for fact, of in (
        ("it was trained on dataset {}, the other on {}", lambda manifest: manifest.provenance.dataset),
        ("its images are {}, the other's {}", lambda manifest: _compared(manifest.image)),
        ("its bits are those of {}, the other's those of {}", partial(_explained, metric=metric)),
    ):
        if of(mine) != of(others):
            return fact.format(of(mine), of(others))
    if not _dataset(mine, storage).is_dir():
        return f"there is no {_dataset(mine, storage)}, on which both were trained; name its storage with --storage"
    return ""


def _metric_of(manifest: Manifest) -> Metric:
    """Return what a model is judged by: its experiment's objective, or the first metric that it can have."""
    objective = METRICS[objective_of(manifest)]
    able = [metric for metric in METRICS.values() if metric.needs in manifest.capabilities]
    return objective if objective in able else next(iter(able), objective)


def _explained(manifest: Manifest, *, metric: Metric) -> str:
    """Return what a bound on a model's likelihood is of, if it is judged by that."""
    likelihood = getattr(manifest.model, "likelihood", None) if metric.needs == "bound" else None
    return getattr(likelihood, "explains", "stored values")


def _compared(image: ImageSpec) -> str:
    """Return what images must have in common; masks do not count."""
    return image.model_dump_json(exclude={"masks"})


def _measured(evaluator: Evaluator, model: Model, metric: Metric) -> dict[str, float]:
    figures = evaluator.full(model, only=[metric.needs])
    names = (metric.name, f"{metric.name}/low", f"{metric.name}/high")
    return {name: figures[name] for name in names if name in figures}


def _weighed(
    metric: Metric, figures: Mapping[str, float], others: Mapping[str, float], *, called: str, num_images: int
) -> VersionComparison:
    """Say who is better by how much."""
    name = metric.name
    losses = loss_of(name, figures.get(name)), loss_of(name, others.get(name))
    verdict: Verdict = "better" if losses[0] < losses[1] else "worse" if losses[0] > losses[1] else "equal"
    mine, theirs = (each.get(name, float("nan")) for each in (figures, others))
    found = "no better" if verdict == "equal" else f"{verdict} by {abs(mine - theirs):.3g}"
    overlap = ", though the 95 % intervals overlap" if verdict != "equal" and _overlap(name, figures, others) else ""
    sentence = (
        f"{name} {mine:.4g} against {theirs:.4g} of {called} on {num_images} unseen images "
        f"({'lower' if metric.direction == 'min' else 'higher'} is better): {found}{overlap}"
    )
    return VersionComparison(verdict, sentence, figures, others)


def _overlap(name: str, figures: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Tell whether the two 95 % intervals overlap; False if one of them is not known."""
    low, high = f"{name}/low", f"{name}/high"
    if not all(bound in each for bound in (low, high) for each in (figures, others)):
        return False
    return figures[low] <= others[high] and others[low] <= figures[high]
