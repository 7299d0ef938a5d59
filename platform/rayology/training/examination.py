"""A bundle on a split of its dataset: every figure, what it must beat, and pictures to look at."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from rayology.atomic import append_line
from rayology.bundle import Bundle
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.data.splits import SplitName
from rayology.errors import ConfigError
from rayology.image import Batch, ValueRange, from_model_range
from rayology.metrics import compare_reconstructions
from rayology.metrics.bands import band_shares
from rayology.metrics.baselines import nearest_images, pca_reconstructions
from rayology.metrics.recognition import Recogniser
from rayology.models import Encodes, Model
from rayology.picture import labelled_sheet, num_planes
from rayology.training.evaluation import Evaluator

__all__ = ["Examination", "ExaminationConfig", "examine"]

SHOWN = 12  # planes in a row of a sheet: as many images, or four volumes in three planes each


class ExaminationConfig(Config):
    """Which bundle to examine, on what."""

    bundle: Path
    """Folder of the bundle."""
    storage: Path = Path(".rayology")
    """Folder of the datasets, as in the experiment; takes the pictures too."""
    split: SplitName = "validation"
    """The images to hold it against; test only for a model that is chosen already, and each time is recorded."""


@dataclass(frozen=True)
class Examination:
    """What was found."""

    figures: dict[str, float]
    note: str
    """What every figure must be read with."""
    pictures: list[Path] = field(default_factory=list)
    """Sheets: the samples beside real images, and reconstructions beside their originals."""

    def table(self) -> Table:
        """Lay the figures out for people."""
        laid_out = Table("figure", "value", caption=self.note or None)
        for name, figure in self.figures.items():
            laid_out.add_row(name, f"{figure:.4g}")
        return laid_out


def examine(config: ExaminationConfig) -> Examination:
    """Return every figure of a bundle, and draw its sheets.

    Raises:
        BundleError: the bundle is damaged or foreign.
        ConfigError: the dataset that it was trained on does not lie in ``storage``.
    """
    bundle = Bundle.load(config.bundle.expanduser())
    origin = bundle.manifest.provenance
    folder = config.storage.expanduser().absolute()
    if not (folder / "datasets" / origin.dataset).is_dir():
        raise ConfigError(f"storage: {folder} holds no dataset {origin.dataset}, on which the bundle was trained")
    data, model = PreparedDataset.open(folder / "datasets" / origin.dataset), bundle.build()
    if config.split == "test":
        _record(folder / "keys" / f"{origin.dataset}.test-readings.jsonl", config.bundle)
    evaluator = Evaluator(origin.seed, data, torch.device("cpu"), split=config.split)
    folder = folder / "examinations" / f"{bundle.path.absolute().parent.name}-{bundle.path.name}-{config.split}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # pictures show patients
    shown = [PRESENTATIONS[name](evaluator, model) for name in bundle.manifest.capabilities if name in PRESENTATIONS]
    figures = evaluator.full(model) | {name: figure for each in shown for name, figure in each.figures.items()}
    pictures = [_draw(folder / f"{each.name}.png", each.rows) for each in shown]
    for each in shown:
        if each.origin:
            (folder / f"{each.name}.json").write_text(json.dumps(each.origin), encoding="utf-8")
    return Examination(figures, data.info.note, pictures)


@dataclass(frozen=True)
class Presentation:
    """What one capability is shown by: a sheet, and figures beside what costs nothing."""

    name: str
    rows: Mapping[str, Tensor]
    """Images by the label of their row."""
    figures: dict[str, float]
    origin: Mapping[str, object] = field(default_factory=dict)
    """How to ask a server for what is shown, and for all else that the figures are of."""


def _samples(evaluator: Evaluator, model: Model) -> Presentation:
    train, unseen = evaluator.train, evaluator.unseen
    samples = evaluator.sample(model, unseen.labels).clip(-1.0, 1.0)
    figures: dict[str, float] = {}
    if model.image.values.unit == "HU":
        figures |= _tissue(model.image.values, samples, unseen.images)
    if model.conditional:
        figures |= _recognition(model, train, unseen, samples)
    classes = [model.image.classes[label] for label in unseen.labels.tolist()] if model.conditional else []
    origin = {"seed": evaluator.seed, "first_index": 0, "count": len(samples), "classes": classes}
    return Presentation("samples", {"samples": samples, "real": unseen.images}, figures, origin)


def _reconstructions(evaluator: Evaluator, model: Model) -> Presentation:
    """Show the model's reconstructions beside those of what needs no training."""
    train, unseen = evaluator.train, evaluator.unseen
    rows = {"model": evaluator.reconstruct(model, unseen)}
    if isinstance(model, Encodes):
        size = model.latent().num_values
        rows[f"pca-{size}"] = pca_reconstructions(train.images, unseen.images, components=size)
    rows["nearest"] = nearest_images(train.images, unseen.images)
    return Presentation("reconstructions", {"real": unseen.images, **rows}, _beside(rows, unseen.images))


PRESENTATIONS: Mapping[str, Callable[[Evaluator, Model], Presentation]] = {
    "generate": _samples,
    "reconstruct": _reconstructions,
}
"""By capability."""


def _record(file: Path, bundle: Path) -> None:
    """Note beside the dataset's key that its test images were looked at: each look makes them less of a test."""
    reading = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "bundle": str(bundle.absolute())}
    append_line(file, json.dumps(reading))


def _tissue(values: ValueRange, samples: Tensor, real: Tensor) -> dict[str, float]:
    """Return the share of the pixels in each band of Hounsfield units, generated and real."""
    drawn, seen = band_shares(from_model_range(samples, values)), band_shares(from_model_range(real, values))
    return {
        path: share
        for band in drawn
        for path, share in ((f"share/{band}", drawn[band]), (f"share/{band}/real", seen[band]))
    }


def _recognition(model: Model, train: Batch, unseen: Batch, samples: Tensor) -> dict[str, float]:
    """Return how often a classifier of real images sees the class that was asked for."""
    recogniser = Recogniser(train.images, train.labels, num_classes=model.num_classes)
    return {
        "recognised": recogniser.accuracy(samples, unseen.labels),
        "recognised/real": recogniser.accuracy(unseen.images, unseen.labels),
        "recognised/chance": 1.0 / model.num_classes,
    }


def _beside(rows: Mapping[str, Tensor], originals: Tensor) -> dict[str, float]:
    return {
        f"{figure}/{row}": value
        for row, images in rows.items()
        for figure, value in compare_reconstructions(images, originals).items()
        if row != "model"
    }


def _draw(path: Path, rows: Mapping[str, Tensor]) -> Path:
    """Draw the first images of each row."""
    first = {label: images[: SHOWN // num_planes(images.shape)] for label, images in rows.items()}
    labelled_sheet(first).save(path)
    return path
