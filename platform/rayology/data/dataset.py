"""A prepared dataset: images of one shape and range, memory-mapped, split by patient."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, ValidationError
from torch import Tensor

from rayology.config import Config
from rayology.data.sampler import EpochSampler, PackSampler, Sampling
from rayology.data.splits import SplitName
from rayology.errors import DatasetError
from rayology.image import Batch, ImageSpec, to_model_range

__all__ = ["INDEX", "INFO", "Counts", "DatasetInfo", "FileRecord", "PreparedDataset", "Split", "SplitCounts"]

INFO = "dataset.json"
INDEX = "index.parquet"
S = TypeVar("S", np.uint8, np.uint16)


class FileRecord(Config):
    """A file of the dataset, with what reveals damage."""

    name: Annotated[str, Field(pattern=r"^((images|masks)-\d{5}\.npy|index\.parquet)$")]
    """Name in the dataset's folder."""
    num_bytes: NonNegativeInt
    """Size in bytes."""
    sha256: str
    """SHA-256 of its content."""


class SplitCounts(Config):
    """Contents of a split."""

    images: NonNegativeInt
    """Number of images."""
    patients: NonNegativeInt
    """Number of patients."""
    classes: dict[str, int]
    """Number of images of each class."""


class Counts(Config):
    """What became of the source's files and their images."""

    files: NonNegativeInt
    """Number of files that the source listed."""
    images: NonNegativeInt
    """Number of images in the dataset."""
    skipped: NonNegativeInt
    """Number of files of which at least one frame is in no image, each with one of the reasons."""
    duplicates: NonNegativeInt
    """Number of files that repeat an instance. If patients are too few to join those who share images, also the number
    of images that (nearly) equal another patient's, or patches of such volumes."""
    joined_patients: NonNegativeInt
    """Number of patients that count as another when splits are drawn: they share a study, a frame of reference or a
    (nearly) equal image."""
    not_in_table: NonNegativeInt
    """Number of images without a row in the source's table; their headers or names say what is known about them."""
    other_modality: NonNegativeInt
    """Number of files of a modality that was not asked for."""
    nearly_empty: NonNegativeInt
    """Number of images left out because of too little foreground."""
    dropped_in_gaps: NonNegativeInt
    """Number of images of a divided patient left out because they lie between or across its blocks, in another frame of
    reference, or at no known position."""

    @property
    def left_out(self) -> dict[str, int]:
        """How many images or files were left out, by what they are."""
        return {
            "nearly empty": self.nearly_empty,
            "between blocks": self.dropped_in_gaps,
            "that repeat others": self.duplicates,
            "of other modalities": self.other_modality,
        }

    @property
    def doubts(self) -> dict[str, int]:
        """How many patients or images the splits must be read with, by what holds for them."""
        return {
            "patients count as others: they share a study, frame of reference or near-duplicate": self.joined_patients,
            "images are in no row of the table: what it says of patients and splits does not hold for them": (
                self.not_in_table
            ),
        }


class DatasetInfo(Config):
    """All that is known about a dataset besides its images: dataset.json."""

    format_version: Literal[4] = 4
    """Version of the folder's layout."""
    fingerprint: str
    """Hash of source, files and settings; name of the folder."""
    image: ImageSpec
    """Channels, size, range and classes that all images share."""
    modality: str
    """DICOM modality of all images."""
    counts: Counts
    """Numbers of images and of what was left out."""
    splits: dict[SplitName, SplitCounts]
    """Contents of each split; none is empty."""
    patients: PositiveInt
    """Number of patients; those who share a study or a frame of reference are one."""
    patient_safe: bool
    """Whether no patient is in two splits."""
    note: str
    """Caveat for every figure on this dataset, such as "one patient"; empty if there is none."""
    clipped_share: float
    """Share of the foreground's pixels that the kept range clips."""
    reasons: dict[str, int]
    """Number of skipped files by reason; ``keys/FINGERPRINT.skipped.json`` names the files."""
    mended: dict[str, int]
    """Number of mended volumes by what was wrong with them."""
    changed: dict[str, int] = Field(default_factory=dict)
    """Numbers of images whose channels or pixels were changed, or whose file has frames left out, by what was done."""
    found: dict[str, dict[str, int]]
    """Numbers of images of each modality, transfer syntax and size that the dataset was made of."""
    source: dict[str, JsonValue]
    """Config of the source, without texts such as its path, which may name a patient."""
    preparation: dict[str, JsonValue]
    """Config of the preparation."""
    files: tuple[FileRecord, ...]
    """All other files of the folder."""


@dataclass(frozen=True)
class Split:
    """The images of one split, in a fixed order."""

    info: DatasetInfo
    index: pa.Table
    """Row for each image: pseudonyms of patient, study and series, position, label, and the scale of its series."""
    _rows: NDArray[np.int64]
    _images: Sequence[NDArray[np.uint16]]
    _masks: Sequence[NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self._rows)

    @functools.cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class of each image as an index into ``info.image.classes``; 0 if there are no classes."""
        return np.asarray(self.index["label"], np.int64)

    @property
    def has_masks(self) -> bool:
        """Whether the source came with masks."""
        return bool(self._masks)

    def stored(self, indices: NDArray[np.int64], *, out: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
        """Return stored levels, (images, channels, *size), in ``out`` if it is given."""
        return _taken(self._images, self._rows[indices], out)

    def masks(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return masks, (images, *size): 0 for background, else the number of a region of ``info.image.masks``.

        Raises:
            DatasetError: the source came without masks.
        """
        if not self._masks:
            raise DatasetError("this dataset has no masks; prepare a source that has them")
        return _taken(self._masks, self._rows[indices], None)

    def images(
        self, indices: NDArray[np.int64], *, device: torch.device | str = "cpu"
    ) -> Float[Tensor, "image channel *space"]:
        """Return images in [-1, 1]; integers travel to the device, which scales them."""
        stored = torch.from_numpy(self.stored(indices)).to(device)
        return to_model_range(stored.to(torch.float32), self.info.image.values)

    def batch(self, indices: NDArray[np.int64], *, device: torch.device) -> Batch:
        """Return images in [-1, 1] with their labels, and their masks if there are any."""
        labels = torch.from_numpy(self.labels[indices]).to(device)
        masks = torch.from_numpy(self.masks(indices)).to(device) if self.has_masks else None
        return Batch(self.images(indices, device=device), labels, masks)

    def sampler(self, *, seed: int, sampling: Sampling = "natural", pack: int = 1) -> EpochSampler:
        """Return the order of the images; ``pack`` consecutive ones are of one class.

        Raises:
            DatasetError: sampling is balanced and the dataset has no classes, or a class is smaller than a pack.
        """
        if sampling == "natural" and pack == 1:
            return EpochSampler([np.arange(len(self))], seed=seed)
        if sampling == "balanced" and not self.info.image.classes:
            raise DatasetError("this dataset has no classes to balance; write natural, or prepare a source with labels")
        strata = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        if (fewest := min(map(len, strata))) < pack:
            raise DatasetError(
                f"a class has {fewest} training images, fewer than a pack of {pack}; lower model.packing"
            )
        return (EpochSampler if sampling == "balanced" else PackSampler)(strata, seed=seed, pack=pack)


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset in its folder."""

    path: Path
    info: DatasetInfo
    reused: bool = False
    """Whether it existed before, so that nothing was decoded."""

    @classmethod
    def open(cls, path: Path) -> "PreparedDataset":
        """Open a dataset without reading its images.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        dataset = cls(path, _read_info(path))
        for record in dataset.info.files:
            file = path / record.name
            if not file.is_file() or file.stat().st_size != record.num_bytes:
                found = f"has {file.stat().st_size} bytes" if file.is_file() else "is missing"
                raise DatasetError(f"{file}: {found}, expected {record.num_bytes} bytes; delete {path}, prepare again")
        return dataset

    def verify(self) -> None:
        """Check the hash of every file.

        Raises:
            DatasetError: a file is damaged.
        """
        for record in self.info.files:
            with (self.path / record.name).open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != record.sha256:
                raise DatasetError(f"{self.path / record.name}: damaged; delete {self.path}, prepare again")

    def split(self, name: SplitName) -> Split:
        """Return the images of a split."""
        table = pq.read_table(self.path / INDEX)
        rows = np.flatnonzero(np.asarray(table["split"]) == name)
        names = [record.name for record in self.info.files]
        shape = self.info.image.shape
        return Split(
            self.info,
            table.take(rows),
            rows,
            self._mapped((file for file in names if file.startswith("images")), np.dtype(np.uint16), shape),
            self._mapped((file for file in names if file.startswith("masks")), np.dtype(np.uint8), shape[1:]),
        )

    def _mapped(self, names: Iterable[str], dtype: np.dtype[S], shape: tuple[int, ...]) -> list[NDArray[S]]:
        # As plain arrays over the map: indexing numpy's own class of maps costs more than copying a small image.
        shards = [np.asarray(np.load(self.path / name, mmap_mode="r", allow_pickle=False)) for name in sorted(names)]
        if any(shard.dtype != dtype or shard.shape[1:] != shape for shard in shards):
            raise DatasetError(f"{self.path}: a shard is not {dtype} of {shape}; delete the folder, prepare again")
        return shards


def _read_info(path: Path) -> DatasetInfo:
    file = path / INFO
    try:
        return DatasetInfo.model_validate_json(file.read_bytes())
    except OSError:
        raise DatasetError(
            f"{file}: no such file; {path} is not a prepared dataset, make one with jobs/prepare.py"
        ) from None
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, mistake["loc"])) or "as a whole" for mistake in error.errors()[:3])
        raise DatasetError(f"{file}: damaged or of another version ({fields}); delete {path}, prepare again") from None


def _taken(shards: Sequence[NDArray[S]], rows: NDArray[np.int64], out: NDArray[S] | None) -> NDArray[S]:
    """Gather rows, numbered across all shards, with one copy of each."""
    if len(shards) == 1:  # twice as fast; a mode other than 'raise' fills ``out`` without a buffer
        return np.take(shards[0], rows, axis=0, out=out, mode="clip")
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    of_shard = np.searchsorted(starts, rows, side="right") - 1
    taken = np.empty((len(rows), *shards[0].shape[1:]), shards[0].dtype) if out is None else out
    for place, (number, row) in enumerate(zip(of_shard.tolist(), (rows - starts[of_shard]).tolist(), strict=True)):
        taken[place] = shards[number][row]
    return taken
