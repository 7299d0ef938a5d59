"""A trained model at rest: a manifest, weights, a card for people and a sheet of samples; nothing in it is code."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rayology.config import Config
from rayology.errors import BundleError
from rayology.experiment import Experiment
from rayology.image import ImageSpec, num_affordable
from rayology.models import Model, ModelConfig
from rayology.picture import contact_sheet, to_grey_levels

__all__ = ["Bundle", "Manifest", "Provenance", "draw", "provenance_of", "write_bundle"]

FORMAT_VERSION = 1
MANIFEST: Final = "bundle.json"
WEIGHTS: Final = "weights.safetensors"
CARD: Final = "README.md"
SAMPLES: Final = "samples.png"
PACKAGES = ("numpy", "pydicom", "ray", "rayology", "torch")


class Provenance(Config):
    """Where a model comes from."""

    dataset: str
    """Fingerprint of the prepared dataset."""
    note: str
    """What every figure must be read with, such as 'one patient'; empty where there is nothing to say."""
    seed: int
    """The experiment's seed."""
    steps: PositiveInt
    """Training steps that were taken."""
    created_at: datetime
    """When the bundle was written, in UTC."""
    packages: dict[str, str]
    """Versions of the packages that made it."""


class Manifest(Config):
    """What a bundle says of itself."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    """Which reader it needs."""
    model: ModelConfig
    """What to build before the weights are loaded."""
    image: ImageSpec
    """What the model draws, in which values."""
    experiment: dict[str, object]
    """The experiment without its paths."""
    metrics: dict[str, float]
    """Figures on the validation split."""
    provenance: Provenance
    """Where it comes from."""
    files: dict[Literal["weights.safetensors", "README.md", "samples.png"], str]
    """SHA-256 of every other file."""
    checksum: str = ""
    """SHA-256 of everything above."""

    @property
    def fingerprint(self) -> str:
        """What the manifest hashes to, beside its checksum."""
        return hashlib.sha256(self.model_dump_json(exclude={"checksum"}).encode()).hexdigest()

    @model_validator(mode="after")
    def _every_file_is_listed(self) -> Self:
        if missing := {WEIGHTS, CARD, SAMPLES} - self.files.keys():
            raise ValueError(f"files: no checksum of {', '.join(sorted(missing))}")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were checked."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Open a bundle and check each file against the manifest.

        Raises:
            BundleError: the folder is no bundle, a file is missing or altered, or a newer version wrote it.
        """
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(f"{path}: holds no {MANIFEST}; name a folder that train, tune or publish wrote") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise BundleError(f"{path / MANIFEST}: {place}: {first['msg']}; damaged, or of another version") from None
        if manifest.checksum != manifest.fingerprint:
            raise BundleError(f"{path / MANIFEST}: was altered since it was written; restore a copy, or train again")
        for name, expected in manifest.files.items():
            _check(path / name, expected)
        return cls(path, manifest)

    def build(self) -> Model:
        """Build the model with its weights, on the CPU, in evaluation mode.

        Raises:
            BundleError: the weights do not fit the model that the manifest describes.
        """
        model = self.manifest.model.build(self.manifest.image)
        try:
            weights = load_file(self.path / WEIGHTS)
            _load_served(model, weights)
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise BundleError(f"{self.path / WEIGHTS}: does not fit the manifest's model: {error}") from None
        return model.eval().requires_grad_(requires_grad=False)


def write_bundle(
    path: Path, *, experiment: Experiment, model: Model, metrics: Mapping[str, float], provenance: Provenance
) -> Bundle:
    """Write a model as a bundle; the folder appears only once it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: weight.contiguous() for name, weight in _served_weights(model).items()}, partial / WEIGHTS)
    contact_sheet(to_grey_levels(draw(model, count=16, seed=experiment.seed))).save(partial / SAMPLES)
    (partial / CARD).write_text(_card(experiment, model.image, metrics, provenance), encoding="utf-8")
    manifest = Manifest(
        model=experiment.model,
        image=model.image,
        experiment=experiment.model_dump(mode="json", exclude={"resume", "source", "storage"}),
        metrics=dict(metrics),
        provenance=provenance,
        files={name: _sha256(partial / name) for name in (WEIGHTS, CARD, SAMPLES)},
    )
    manifest = manifest.model_copy(update={"checksum": manifest.fingerprint})
    (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")

    for name in (MANIFEST, *manifest.files):
        with (partial / name).open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(path, ignore_errors=True)  # of a process that was lost between writing and saying so
    partial.rename(path)
    return Bundle(path, manifest)


def provenance_of(*, dataset: str, note: str, seed: int, steps: int) -> Provenance:
    """Return where a model comes from, with the time and the packages of this process."""
    packages = {package: version(package) for package in PACKAGES}
    return Provenance(
        dataset=dataset, note=note, seed=seed, steps=steps, created_at=datetime.now(UTC), packages=packages
    )


@torch.inference_mode()
def draw(model: Model, *, count: int, seed: int) -> Tensor:
    """Sample images, their classes in turn; the same seed draws the same on every machine of one kind.

    Returns:
        (count, channel, height, width), of volumes (count, channel, slices, height, width), on the CPU.
    """
    device = next(model.parameters()).device
    noise = torch.randn(count, model.noise_size, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % max(model.num_classes, 1)
    at_once = num_affordable(count, model.image.shape)
    parts = zip(noise.to(device).split(at_once), labels.to(device).split(at_once), strict=True)
    return torch.cat([model.sample(*part).float().cpu() for part in parts])


def _served_weights(model: Model) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.state_dict().items() if name.split(".")[0] in model.served}


def _load_served(model: Model, weights: Mapping[str, Tensor]) -> None:
    """Load all of the served weights and nothing else."""
    expected = _served_weights(model)
    if expected.keys() != weights.keys():
        raise KeyError(f"weights {sorted(expected.keys() ^ weights.keys())[:3]} are missing or unknown")
    model.load_state_dict(dict(weights), strict=False)


def _check(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BundleError(f"{file}: is missing; restore a copy, or train again")
    if _sha256(file) != expected:
        raise BundleError(f"{file}: was altered since it was written; restore a copy, or train again")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _card(experiment: Experiment, image: ImageSpec, metrics: Mapping[str, float], origin: Provenance) -> str:
    """Return the model card as Markdown."""
    note = f"**Every figure: {origin.note}.**\n\n" if origin.note else ""
    figures = "\n".join(f"| {name} | {figure:.4g} |" for name, figure in sorted(metrics.items()))
    drawn = f"{'x'.join(map(str, image.size))} {'volumes' if image.is_volume else 'images'}"
    return f"""# {experiment.name}: a {experiment.model.kind} of {drawn}

![Generated samples, none of them real](samples.png)

Draws synthetic images with values from {image.values.low:g} to {image.values.high:g} ({image.values.unit}).
Classes: {", ".join(image.classes) or "none"}.
Every image it makes is synthetic and says so; none is fit for diagnosis or treatment.

## Figures on the validation split

{note}| metric | value |
|---|---|
{figures}

## Where it comes from

Dataset `{origin.dataset}`, seed {origin.seed}, {origin.steps} steps, written {origin.created_at:%Y-%m-%d %H:%M} UTC
with {", ".join(f"{package} {number}" for package, number in sorted(origin.packages.items()))}.
"""
