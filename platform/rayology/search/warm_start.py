"""What sweeps learn from each other: each leaves a record, and one that begins tries first what others found."""

import logging
import math
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import JsonValue, ValidationError

from rayology.config import Config
from rayology.data import DatasetInfo
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.search.journal import Trial
from rayology.search.ranking import history
from rayology.search.results import SweepResult
from rayology.search.sampler import Surrogate
from rayology.search.space import Point, Space
from rayology.store import Store
from rayology.training.run import Run

__all__ = ["Descriptors", "PastTrial", "Record", "keep", "most_similar", "portfolio", "recalled", "require_known"]

logger = logging.getLogger(__name__)

MOST_RECORDS = 8  # from which a portfolio is made
SOFTNESS = 2.0  # of the best score: 0 is the plain minimum
LEFT_OUT = {"", "rejected", "failed"}  # outcomes that say nothing about a point


class Descriptors(Config):
    """What a record says of a dataset: nothing that could name a patient."""

    fingerprint: str
    """Hash of the dataset."""
    size: tuple[int, ...]
    """Rows and columns, or slices, rows and columns."""
    channels: int
    """Number of channels."""
    num_classes: int
    """Number of classes."""
    modality: str
    """DICOM modality of all images."""
    num_images: int
    """Number of images."""

    @classmethod
    def of(cls, info: DatasetInfo) -> Self:
        """Describe a dataset."""
        image = info.image
        return cls(
            fingerprint=info.fingerprint,
            size=image.size,
            channels=image.channels,
            num_classes=len(image.classes),
            modality=info.modality,
            num_images=info.counts.images,
        )

    def distance(self, other: Self) -> float:
        """Return how unlike two datasets are: 0 for the same one, else 1, 2 if their modalities differ, and factors.

        A factor of two counts 1 between sizes along each axis, 0.3 between numbers of images, and 0.3 between those of
        classes; between numbers of channels it counts as between sizes along one axis.
        """
        if self.fingerprint == other.fingerprint:
            return 0.0
        values, others = (each.channels * math.prod(each.size) for each in (self, other))
        size = abs(math.log2(values / others)) / len(self.size)
        images = abs(math.log10(self.num_images / other.num_images))
        classes = abs(math.log10((1 + self.num_classes) / (1 + other.num_classes)))
        return 1 + 2 * (self.modality != other.modality) + size + images + classes


class PastTrial(Config):
    """What a record says of a trial."""

    point: dict[str, str | int | float | bool]
    """The values that it tried."""
    losses: tuple[float, ...]
    """Losses by all objectives if it finished."""
    curve: dict[int, float]
    """Losses by the first objective after how many steps."""
    outcome: str
    """How it ended."""


class Record(Config):
    """What is kept of a sweep: ``sweeps/NAME.json`` in the store."""

    format_version: Literal[1] = 1
    """Version of the record's layout."""
    name: str
    """Name of the sweep."""
    objectives: tuple[str, ...]
    """What it lowered, the first one first."""
    steps: int
    """Steps of a trial."""
    batch_size: int
    """Images per step."""
    space: tuple[dict[str, JsonValue], ...]
    """The dimensions that it searched."""
    dataset: Descriptors
    """What it trained on."""
    trials: tuple[PastTrial, ...]
    """What it tried, those that repeat finalists among them."""

    @classmethod
    def of(cls, found: SweepResult, info: DatasetInfo) -> Self:
        """Sum up a sweep that ended."""
        schedule, wanted = found.experiment.schedule, found.experiment.search
        return cls(
            name=found.folder.name,
            objectives=(wanted.objective, *wanted.tradeoffs),
            steps=schedule.steps,
            batch_size=schedule.batch_size,
            space=found.space.written,
            dataset=Descriptors.of(info),
            trials=[
                {"point": trial.point, "losses": trial.losses, "curve": trial.curve, "outcome": trial.outcome}
                for trial in found.trials
                if trial.outcome not in LEFT_OUT
            ],
        )


def keep(found: SweepResult, info: DatasetInfo) -> None:
    """Leave a record of a sweep in its storage's store, in place of an earlier one."""
    record = Record.of(found, info)
    _store(found.experiment).keep_record(record.name, record.model_dump_json().encode())


def require_known(experiment: Experiment) -> None:
    """Refuse to start from a sweep that left no record.

    Raises:
        ConfigError: names those that did.
    """
    if wanted := experiment.search.warm_start:
        known = _records(_store(experiment))
        if unknown := [name for name in wanted if name not in known]:
            newest = f"the newest that did: {', '.join([*known][-3:])}" if known else "none did"
            raise ConfigError(f"search.warm_start: {', '.join(unknown)} left no record in the store; {newest}")


def recalled(sweep: Run, info: DatasetInfo, space: Space) -> list[Point]:
    """Return what a sweep that begins should try first of what others found, and say from whom it is."""
    wanted = sweep.experiment.search
    if wanted.cold:
        return []
    known = _records(_store(sweep.experiment))
    known.pop(sweep.folder.name, None)
    records = [known[name] for name in wanted.warm_start] or most_similar(
        [*known.values()], Descriptors.of(info), wanted.objective
    )
    points = portfolio(records, space, Descriptors.of(info), min(wanted.portfolio, wanted.most_starts - 1))
    if points:
        names = ", ".join(record.name for record in records)
        logger.info("It starts with %d points that earlier sweeps found: %s.", len(points), names)
    return points


def most_similar(records: Sequence[Record], dataset: Descriptors, objective: str) -> list[Record]:
    """Return the records of like datasets with the same objective, the nearest first, of equals the newest."""
    comparable = [
        record
        for record in reversed(records)
        if record.objectives[0] == objective and len(record.dataset.size) == len(dataset.size)
    ]
    return sorted(comparable, key=lambda record: dataset.distance(record.dataset))[:MOST_RECORDS]


def portfolio(
    records: Sequence[Record], space: Space, dataset: Descriptors, count: int, *, among: Sequence[Point] | None = None
) -> list[Point]:
    """Return points that complement each other, the best one first: by default of those that finished in the records.

    Each lowers most the mean over the records, weighted by likeness, of the best score so far (Feurer et al. 2022). The
    best is a soft minimum, so that more than one point may stand for a record. The score of a point is what a record's
    own surrogate predicts, for points that it saw too: a lucky look counts for less.
    """
    found: dict[frozenset[tuple[str, object]], Point] = {}
    surrogates, weights = [], []
    for record in records:
        trials = [
            Trial(number, point, 0, curve=trial.curve, losses=trial.losses[:1], outcome=trial.outcome)
            for number, trial in enumerate(record.trials)
            if (point := space.admitted(trial.point)) is not None
        ]
        if finished := [trial.point for trial in trials if trial.losses]:
            found |= {frozenset(point.items()): point for point in finished}
            surrogates.append(Surrogate(space, *history(trials, np.random.default_rng(0))))
            weights.append(1 / (1 + dataset.distance(record.dataset)))
    left, chosen = [*(found.values() if among is None else among)], list[Point]()
    if not surrogates:
        return []
    merits = np.exp([-surrogate.predict(left)[0] / SOFTNESS for surrogate in surrogates])
    total = np.zeros((len(surrogates), 1))
    for _ in range(min(count, len(left))):
        index = int(np.argmax(weights @ np.log(total + merits)))
        chosen.append(left.pop(index))
        total, merits = total + merits[:, [index]], np.delete(merits, index, axis=1)
    return chosen


def _records(store: Store) -> dict[str, Record]:
    """Read the records that this version understands, the oldest first."""
    read, foreign = dict[str, Record](), list[str]()
    for name, content in store.records().items():
        try:
            read[name] = Record.model_validate_json(content)
        except ValidationError:
            foreign.append(name)
    if foreign:
        logger.warning("Records of sweeps that are damaged or of another version are left out: %s.", ", ".join(foreign))
    return read


def _store(experiment: Experiment) -> Store:
    return Store(str(experiment.storage.expanduser().absolute() / "store"))
