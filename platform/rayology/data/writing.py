"""Write curated images into the folder of a dataset."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayology.data.curation import Curation
from rayology.data.dataset import INDEX, INFO, DatasetInfo, FileRecord, SplitCounts
from rayology.data.dicom.pet import PET, SUV, UNIT_NAMES
from rayology.data.preparation import CT, PatchesConfig, PreparationConfig
from rayology.data.records import ImageRecord
from rayology.data.scratch import Scratch
from rayology.data.splits import SPLITS
from rayology.image import ImageSpec, ValueRange, clipped_share, to_stored
from rayology.imaging import foreground

__all__ = ["Contents", "write_dataset"]

MAX_SHARD_BYTES = 2**28
MAX_LISTED = 5
SERIES = "SeriesError"
NUMBERS = re.compile(r"-?\d+(\.\d+)?(, -?\d+(\.\d+)?)*( mm and \d+ more)?")


@dataclass(frozen=True)
class Contents:
    """What goes into a dataset."""

    fingerprint: str
    curation: Curation
    source: dict[str, object]
    preparation: PreparationConfig

    @property
    def images(self) -> tuple[ImageRecord, ...]:
        """The images in their order."""
        return self.curation.images


def write_dataset(folder: Path, contents: Contents, scratch: Scratch, report: Callable[[int], None]) -> None:
    """Write shards, index and dataset.json."""
    first, cut = contents.images[0], contents.preparation.cut
    image = ImageSpec(
        channels=first.shape[0],
        size=first.shape[1:],
        spacing_mm=cut.spacing_mm if isinstance(cut, PatchesConfig) else None,
        values=_values(first, contents.preparation),
        classes=tuple(sorted({each.label for each in contents.images} - {""})),
    )
    files, clipped = _write_shards(folder, contents, image, scratch, report)
    image = image.patched({"masks": _regions(folder, files)})
    files.append(_write_index(folder / INDEX, contents.images, image))
    info = _info(contents, image, tuple(files), clipped)
    (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _values(image: ImageRecord, preparation: PreparationConfig) -> ValueRange:
    """Return the range that the dataset keeps, given one of its images."""
    if image.values or image.modality == CT:
        return image.values or preparation.window
    levels = preparation.window.levels
    if image.units:
        return ValueRange(low=image.low, high=image.high, unit=UNIT_NAMES.get(image.units, image.units), levels=levels)
    unit = "fraction of the dataset's range" if image.modality == PET else "fraction of the series' range"
    return ValueRange(low=0.0, high=1.0, unit=unit, levels=levels)


def _write_shards(
    folder: Path, contents: Contents, image: ImageSpec, scratch: Scratch, report: Callable[[int], None]
) -> tuple[list[FileRecord], float]:
    """Write images and masks; return the files and the clipped share of the foreground."""
    pixels, masks = scratch.pixels(image.shape), scratch.masks(image.shape)
    has_masks = any(each.has_mask for each in contents.images)
    length = max(1, MAX_SHARD_BYTES // (2 * pixels[0].size))
    files: list[FileRecord] = []
    num_body, num_clipped = 0, 0.0
    for number, start in enumerate(range(0, len(contents.images), length)):
        shard = contents.images[start : start + length]
        stored = np.empty((len(shard), *image.shape), np.uint16)
        for row, each in enumerate(shard):
            scaled = _scaled(pixels[each.row], each, image)
            stored[row] = to_stored(scaled, image.values)
            body = scaled[foreground(scaled, image.values.low, image.values.high)]
            num_body += body.size
            num_clipped += clipped_share(body, image.values) * body.size if body.size else 0.0
            report(start + row + 1)
        files.append(_write_array(folder / f"images-{number:05d}.npy", stored))
        if has_masks:
            files.append(_write_array(folder / f"masks-{number:05d}.npy", masks[[each.row for each in shard]]))
    return files, num_clipped / max(num_body, 1)


def _regions(folder: Path, files: Sequence[FileRecord]) -> list[str]:
    """Return the names of the masks' regions, which are their numbers; empty without masks."""
    masks = [np.load(folder / file.name, mmap_mode="r") for file in files if file.name.startswith("masks")]
    highest = max((int(each.max()) for each in masks), default=0)
    return [str(number) for number in range(1, highest + 1)]


def _scaled(pixels: NDArray[np.float32], record: ImageRecord, image: ImageSpec) -> NDArray[np.float64]:
    """Map the range of a series to the dataset's; for CT both are the window."""
    fraction = (pixels.astype(np.float64) - record.low) / (record.high - record.low)
    return np.asarray(fraction * (image.values.high - image.values.low) + image.values.low)


def _write_array(file: Path, values: NDArray[np.generic]) -> FileRecord:
    np.save(file, values, allow_pickle=False)
    return _recorded(file)


def _write_index(file: Path, images: Sequence[ImageRecord], image: ImageSpec) -> FileRecord:
    labels = {name: number for number, name in enumerate(image.classes)}
    columns = {
        "patient": pa.array([each.who.patient for each in images], pa.string()),
        "study": pa.array([each.who.study for each in images], pa.string()),
        "series": pa.array([each.who.series for each in images], pa.string()),
        "position_mm": pa.array([each.geometry.position_mm for each in images], pa.float64()),
        "spacing_mm": pa.array([each.spacing_mm for each in images], pa.list_(pa.float64(), len(image.size))),
        "corner_mm": pa.array([each.geometry.corner_mm for each in images], pa.list_(pa.float64(), 3)),
        "label": pa.array([labels.get(each.label, 0) for each in images], pa.int64()),
        "split": pa.array([each.split for each in images], pa.string()),
        "scale_low": pa.array([each.low for each in images], pa.float64()),
        "scale_high": pa.array([each.high for each in images], pa.float64()),
    }
    first: dict[str, str] = {}
    joined = [first.setdefault(each.who.draw, each.who.patient) for each in images]
    if len(first) < len({each.who.patient for each in images}):
        columns["joined_patient"] = pa.array(joined, pa.string())
    pq.write_table(pa.table(columns), file)
    return _recorded(file)


def _recorded(file: Path) -> FileRecord:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return FileRecord(name=file.name, num_bytes=file.stat().st_size, sha256=sha256)


def _info(contents: Contents, image: ImageSpec, files: tuple[FileRecord, ...], clipped: float) -> DatasetInfo:
    curation, inventory = contents.curation, contents.curation.inventory
    patients = len({each.who.draw for each in contents.images})
    known = all(each.who.has_patient for each in contents.images)
    return DatasetInfo.model_validate(
        {
            "fingerprint": contents.fingerprint,
            "image": image,
            "modality": contents.images[0].modality,
            "counts": curation.counts,
            "splits": {
                name: _split_counts([each for each in contents.images if each.split == name]) for name in SPLITS
            },
            "patients": patients,
            "patient_safe": known and not curation.num_leaking and not _is_divided(contents.images),
            "note": "; ".join(_notes(contents, patients if known else None)),
            "clipped_share": clipped,
            "reasons": _counted(
                _kind(each) if each.startswith(SERIES) else each for each in inventory.reasons.values()
            ),
            "mended": _counted(map(_kind, inventory.mended)),
            "changed": _counted(text for each in contents.images for text in each.changed),
            "found": _found(contents.images),
            "source": contents.source,
            "preparation": contents.preparation.model_dump(mode="json"),
            "files": files,
        }
    )


def _is_divided(images: Sequence[ImageRecord]) -> bool:
    """Return whether images of one patient lie in several splits."""
    return len({(each.who.draw, each.split) for each in images}) > len({each.who.draw for each in images})


def _notes(contents: Contents, patients: int | None) -> Iterator[str]:
    """Say what every figure must be read with, given the number of patients if it is known."""
    match patients:
        case None:
            yield "not patient-safe: the source does not say whose images these are"
        case 1:
            yield "one patient"
        case 2:
            yield "two patients"
        case _ if _is_divided(contents.images):
            yield "not patient-safe: too few patients have no image in common, so some are cut into blocks"
    first = contents.images[0]
    if first.modality == PET and first.units != SUV:
        unit = UNIT_NAMES.get(first.units, first.units or "no known units")
        yield f"PET in {unit}, not in SUV by body weight, so equal uptake may differ from patient to patient"
    leaking = contents.curation.num_leaking
    if leaking:
        yield f"the official splits leak: {leaking} images, or their patients, are in another split too"
    classes = {each.label for each in contents.images} - {""}
    for name in SPLITS[1:]:
        missing = sorted(classes - {each.label for each in contents.images if each.split == name})
        if missing:
            listed = ", ".join(missing if len(missing) <= MAX_LISTED else [*missing[:MAX_LISTED], "..."])
            yield f"{name} never examines {len(missing)} of {len(classes)} classes ({listed})"


def _found(images: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    axes = " x ".join(("slices", "rows", "columns")[-len(images[0].original_size) :])
    counted = {
        "modality": Counter(each.modality or "none given" for each in images),
        "transfer syntax": Counter(each.syntax or "no DICOM" for each in images),
        **({"units": Counter(UNIT_NAMES.get(each.units, each.units) for each in images)} if images[0].units else {}),
        axes: Counter(" x ".join(map(str, each.original_size)) for each in images),
    }
    return {what: dict(counts.most_common()) for what, counts in counted.items()}


def _counted(texts: Iterable[str]) -> dict[str, int]:
    return dict(Counter(texts).most_common())


def _kind(text: str) -> str:
    """Return a message without numbers and positions, which all differ; the list of skipped files has them."""
    return NUMBERS.sub("...", text)


def _split_counts(images: Sequence[ImageRecord]) -> SplitCounts:
    labels = Counter(each.label for each in images if each.label)
    return SplitCounts(
        images=len(images),
        patients=len({each.who.draw for each in images}),
        classes=dict(sorted(labels.items())),
    )
