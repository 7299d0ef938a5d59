"""A bundle on a split of its dataset: every figure, what it is held against, and pictures to look at."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor

from rayology.atomic import append_line, atomic_file, write_atomic
from rayology.bundle import Bundle
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.errors import ConfigError
from rayology.image import Batch, ValueRange, from_model_range
from rayology.metrics import compare_reconstructions
from rayology.metrics.bands import band_shares
from rayology.metrics.baselines import nearest_images, pca_reconstructions
from rayology.metrics.class_accuracy import CLASS_ACCURACY, ReferenceClassifier
from rayology.metrics.figures import HEAD, figures_of, grouped
from rayology.models import Encodes, Model
from rayology.page import image, note, page, safe, table
from rayology.picture import labelled_sheet, num_planes
from rayology.training.evaluation import Evaluator

__all__ = ["EvaluateConfig", "EvaluationReport", "evaluate"]

SHOWN = 12  # planes in a row of a sheet: as many images, or four volumes in three planes each


class EvaluateConfig(Config):
    """Which bundle to evaluate, on what."""

    bundle: Path
    """Folder of the bundle."""
    storage: Path = Path(".rayology")
    """Folder of the datasets, as in the experiment; takes the report too."""
    split: SplitName = "validation"
    """The images to hold it against; test only for a model that is chosen already, and each time is recorded."""
    particles: Annotated[PositiveInt, Field(le=10_000)] = 1
    """Latents drawn of each image for the bound on its likelihood: it gets tighter (Burda et al. 2016, who draw 5,000);
    an image costs as many times as much to decode."""
    num_threads: PositiveInt = 1
    """CPU threads; more than there are idle cores wait for each other, and take many times as long."""


Tell = Callable[[int, int, str], None]
"""Takes how many parts are done, of how many, and what comes next."""


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured, and where it is written."""

    facts: Mapping[str, object]
    """Which bundle was held against what, and the note that every figure must be read with."""
    figures: Mapping[str, float]
    folder: Path
    """Where ``evaluation.json``, ``evaluation.html`` and the pictures lie."""
    pictures: Mapping[str, Path]
    """Sheets: the samples next to real images, and reconstructions next to their originals."""

    @property
    def note(self) -> str:
        """What every figure must be read with; empty if there is nothing to say."""
        return str(self.facts["note"])

    @property
    def page(self) -> Path:
        """All of it on one page."""
        return self.folder / "evaluation.html"


def evaluate(config: EvaluateConfig, *, tell: Tell) -> EvaluationReport:
    """Return every figure of a bundle, draw its sheets, and write both as JSON and as a page.

    Raises:
        BundleError: the bundle is damaged or foreign.
        ConfigError: the dataset that it was trained on does not lie in ``storage``.
    """
    torch.set_num_threads(config.num_threads)
    bundle = Bundle.load(config.bundle.expanduser())
    origin = bundle.manifest.provenance
    storage = config.storage.expanduser().absolute()
    if not (storage / "datasets" / origin.dataset).is_dir():
        raise ConfigError(
            f"storage: {storage} holds no dataset {origin.dataset}, on which the bundle was trained; name"
            " with --storage the one that its training had"
        )
    data, model = PreparedDataset.open(storage / "datasets" / origin.dataset), bundle.build()
    if config.split == "test":
        _record(storage / "keys" / f"{origin.dataset}.test-readings.jsonl", config.bundle)
    evaluator = Evaluator(origin.seed, data, torch.device("cpu"), split=config.split, particles=config.particles)

    presenters = [PRESENTERS[name] for name in bundle.manifest.capabilities if name in PRESENTERS]
    total = len(presenters) + 1
    tell(0, total, "the figures of all that the model can do")
    figures, shown = evaluator.full(model), []
    for done, presenter in enumerate(presenters, 1):
        tell(done, total, presenter.title)
        shown.append(presenter.present(evaluator, model))
        figures |= shown[-1].figures
    tell(total, total, "")

    folder = storage / "evaluations" / f"{bundle.path.absolute().parent.name}-{bundle.path.name}-{config.split}"
    facts = {
        "model": bundle.manifest.name,
        "kind": bundle.manifest.model.kind,
        "bundle": bundle.fingerprint,
        "dataset": origin.dataset,
        "split": config.split,
        "images": len(evaluator.unseen),
        "particles": config.particles if config.particles > 1 else "",
        "note": data.info.note,
    }
    report = EvaluationReport(facts, figures, folder, {each.name: folder / f"{each.name}.png" for each in shown})
    _write(report, shown, model.image.values)
    return report


def _write(report: EvaluationReport, shown: Sequence["Presentation"], values: ValueRange) -> None:
    """Write figures, sheets and a page of both for their owner alone: they show patients."""
    figures = figures_of(report.figures)
    found = {**report.facts, "figures": [asdict(figure) for figure in figures]}
    write_atomic(report.folder / "evaluation.json", json.dumps(found, indent=2).encode())
    body = [
        note(f"Every figure: {report.note}." if report.note else ""),
        table((name, str(value)) for name, value in report.facts.items() if value != ""),
    ]
    for each in shown:
        sheet = each.sheet(values)
        with atomic_file(report.pictures[each.name]) as opened:
            sheet.save(opened, "PNG")
        body += [f"<h2>{safe(each.name.capitalize())}</h2>", image(sheet, alt=each.name)]
        if each.origin:
            write_atomic(report.folder / f"{each.name}.json", json.dumps(each.origin).encode())
    for group, members in grouped(figures):
        body += [f"<h2>{safe(group)}</h2>", table((figure.cells() for figure in members), head=HEAD)]
        body += [f"<p><b>{safe(figure.name)}</b>: {safe(figure.meaning)}.</p>" for figure in members if figure.meaning]
    title = "{model}: a {kind} on the {split} split".format_map(report.facts)
    write_atomic(report.page, page(title, body))


@dataclass(frozen=True)
class Presentation:
    """What one capability is shown by: a sheet, and figures next to those of what costs nothing."""

    name: str
    rows: Mapping[str, Tensor]
    """Images by the label of their row."""
    figures: dict[str, float]
    captions: Sequence[str] = ()
    """The class of each column."""
    origin: Mapping[str, object] = field(default_factory=dict)
    """How to ask a server for what is shown, and for all else that the figures are of."""

    def sheet(self, values: ValueRange) -> Image.Image:
        """Draw the first images of each row."""
        first = {label: images[: SHOWN // num_planes(images.shape)] for label, images in self.rows.items()}
        return labelled_sheet(first, values, captions=self.captions)


@dataclass(frozen=True)
class Presenter:
    """How a capability is shown."""

    title: str
    present: Callable[[Evaluator, Model], Presentation]


def _samples(evaluator: Evaluator, model: Model) -> Presentation:
    train, unseen = evaluator.train, evaluator.unseen
    samples = evaluator.sample(model, unseen.labels).clip(-1.0, 1.0)
    figures: dict[str, float] = {}
    if model.image.values.unit == "HU":
        figures |= _tissue(model.image.values, samples, unseen.images)
    if model.conditional:
        figures |= _class_accuracy(model, train, unseen, samples)
    classes = [model.image.classes[label] for label in unseen.labels.tolist()] if model.conditional else []
    shown = _by_class(unseen.labels, SHOWN // num_planes(samples.shape))
    origin = {"seed": evaluator.seed, "first_index": 0, "count": len(samples), "classes": classes, "shown": shown}
    rows = {"generated": samples[shown], "real": unseen.images[shown]}
    captions = [classes[index] for index in shown] if classes else []
    return Presentation("samples", rows, figures, captions, origin)


def _by_class(labels: Tensor, count: int) -> list[int]:
    """Return the places of the first images of each class, as many of one as of another, class by class."""
    classes = labels.unique().tolist()
    places = [(labels == label).nonzero()[: -(-count // len(classes)), 0].tolist() for label in classes]
    return [place for of_class in places for place in of_class][:count]


def _reconstructions(evaluator: Evaluator, model: Model) -> Presentation:
    """Show the model's reconstructions next to those of what needs no training."""
    train, unseen = evaluator.train, evaluator.unseen
    rows = {"model": evaluator.reconstruct(model, unseen)}
    if isinstance(model, Encodes):
        size = model.latent().num_values
        rows[f"pca-{size}"] = pca_reconstructions(train.images, unseen.images, components=size)
    rows["nearest"] = nearest_images(train.images, unseen.images, evaluator.values_at_once)
    classes = [model.image.classes[label] for label in unseen.labels.tolist()] if model.image.classes else []
    return Presentation(
        "reconstructions", {"real": unseen.images, **rows}, _baseline_figures(rows, unseen.images), classes
    )


PRESENTERS: Mapping[str, Presenter] = {
    "generate": Presenter("samples, and a classifier of real images that looks at them", _samples),
    "reconstruct": Presenter("reconstructions, and those of what needs no training", _reconstructions),
}
"""By capability."""


def _record(file: Path, bundle: Path) -> None:
    """Note next to the dataset's key that its test images were looked at: each look makes them less of a test."""
    reading = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "bundle": str(bundle.absolute())}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    append_line(file, json.dumps(reading))


def _tissue(values: ValueRange, samples: Tensor, real: Tensor) -> dict[str, float]:
    """Return the share of the pixels in each band of Hounsfield units, generated and real."""
    drawn, seen = band_shares(from_model_range(samples, values)), band_shares(from_model_range(real, values))
    return {
        path: share
        for band in drawn
        for path, share in ((f"share/{band}", drawn[band]), (f"share/{band}/real", seen[band]))
    }


def _class_accuracy(model: Model, train: Batch, unseen: Batch, samples: Tensor) -> dict[str, float]:
    """Return how often a classifier of real images sees the class that was asked for."""
    classifier = ReferenceClassifier(train.images, train.labels, num_classes=model.num_classes)
    name, share = CLASS_ACCURACY.name, classifier.accuracy(samples, unseen.labels)
    low, high = _share_interval(share, len(samples))
    return {
        name: share,
        f"{name}/low": low,
        f"{name}/high": high,
        f"{name}/real": classifier.accuracy(unseen.images, unseen.labels),
        f"{name}/chance": 1.0 / model.num_classes,
    }


def _share_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of so many (Wilson 1927), which stays within 0 and 1.

    >>> [round(bound, 2) for bound in _share_interval(1.0, 3)]
    [0.44, 1.0]
    """
    square = 1.96**2 / count
    centre, reach = share + square / 2, math.sqrt(square * (share * (1.0 - share) + square / 4))
    return (centre - reach) / (1.0 + square), (centre + reach) / (1.0 + square)


def _baseline_figures(rows: Mapping[str, Tensor], originals: Tensor) -> dict[str, float]:
    return {
        f"{figure}/{row}": value
        for row, images in rows.items()
        for figure, value in compare_reconstructions(images, originals).items()
        if row != "model"
    }
