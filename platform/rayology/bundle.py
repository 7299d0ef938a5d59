"""A trained model at rest: a manifest, weights, a card for people and pictures; nothing in it is code."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

import pydantic_core
import torch
from PIL import Image
from pydantic import Field, JsonValue, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rayology.atomic import atomic_folder
from rayology.config import Choice, Config, is_open, leaves, path_of
from rayology.errors import BundleError
from rayology.image import VALUES_AT_ONCE, ImageSpec, num_at_once
from rayology.migration import FORMAT_VERSION, migrated, migrated_weights
from rayology.models import Generates, Model, ModelConfig, capabilities
from rayology.noise import indexed_labels, indexed_noise, placed
from rayology.picture import contact_sheet, to_grey_levels

__all__ = ["Bundle", "Manifest", "Provenance", "draw", "provenance_of", "read_manifest", "write_bundle"]

MANIFEST: Final = "bundle.json"
WEIGHTS: Final = "weights.safetensors"
CARD: Final = "README.md"
PACKAGES = ("numpy", "pydicom", "ray", "rayology", "torch")
SHEET = 16  # samples on a sheet
COPIES = 4
"""Copies of an image that drawing it holds at once: what the widest layers are."""


class Provenance(Config):
    """Where a model comes from."""

    dataset: str
    """Fingerprint of the prepared dataset."""
    note: str
    """Caveat to every figure, such as 'one patient'; empty if there is none."""
    seed: int
    """The experiment's seed."""
    steps: PositiveInt
    """Training steps taken."""
    created_at: datetime
    """Time when the bundle was written, in UTC."""
    packages: dict[str, str]
    """Versions of the packages that made it."""
    parents: tuple[str, ...] = ()
    """SHA-256 of the manifests of the bundles whose weights it started from."""


class Manifest(Config):
    """What a bundle says about itself."""

    format_version: Annotated[int, Field(ge=FORMAT_VERSION, le=FORMAT_VERSION)] = FORMAT_VERSION
    """Version of the format; earlier ones are migrated when they are read."""
    name: str
    """Name of the model: that of its experiment."""
    capabilities: tuple[str, ...]
    """What the model can do."""
    model: ModelConfig
    """Config of the model that the weights belong to."""
    image: ImageSpec
    """Images that the model draws or takes."""
    experiment: dict[str, JsonValue]
    """The experiment without its model and its paths."""
    metrics: dict[str, float]
    """Figures on the validation split."""
    provenance: Provenance
    """Origin of the model."""
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.(safetensors|md|png)$")], str]
    """SHA-256 of every other file."""
    checksum: str = ""
    """SHA-256 of everything above."""

    @model_validator(mode="after")
    def _every_file_is_listed(self) -> Self:
        if missing := {WEIGHTS, CARD} - self.files.keys():
            raise ValueError(f"files: no checksum of {', '.join(sorted(missing))}")
        return self


class Origin(Protocol):
    """What a bundle keeps of an experiment."""

    @property
    def name(self) -> str:
        """The experiment's name."""
        ...

    @property
    def seed(self) -> int:
        """The experiment's seed."""
        ...

    @property
    def model(self) -> ModelConfig:
        """The model's config."""
        ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, JsonValue]:
        """Return the experiment's values."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were checked."""

    path: Path
    manifest: Manifest
    written_as: int = FORMAT_VERSION
    """Version of the format of the files."""

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Open a bundle of this format or an earlier one, and check each file against the manifest.

        Raises:
            BundleError: the folder is not a bundle, a file is missing or altered, or a newer version wrote it.
        """
        file = path / MANIFEST
        try:
            manifest, written_as = read_manifest(file.read_bytes(), file=str(file))
        except (FileNotFoundError, NotADirectoryError):
            found = f"holds no {MANIFEST}" if path.is_dir() else "no such folder"
            raise BundleError(f"{path}: {found}; name a folder that train, tune or publish wrote") from None
        for name, expected in manifest.files.items():
            _check(path / name, expected)
        return cls(path, manifest, written_as)

    @property
    def seed(self) -> int | None:
        """Seed of the samples on its sheet, and of those that were evaluated, each with the class of an unseen image.

        None for format 1, which drew them differently.
        """
        return self.manifest.provenance.seed if self.written_as > 1 else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest's file."""
        return _sha256(self.path / MANIFEST)

    def weights(self) -> dict[str, Tensor]:
        """Read the weights under the names of today's model.

        Raises:
            BundleError: they are damaged.
        """
        try:
            return migrated_weights(load_file(self.path / WEIGHTS), written_as=self.written_as)
        except SafetensorError as error:
            raise BundleError(f"{self.path / WEIGHTS}: is not readable: {error}") from None

    def build(self) -> Model:
        """Build the model with its weights, on the CPU, in evaluation mode.

        Raises:
            BundleError: the weights do not fit the model that the manifest describes.
        """
        model = self.manifest.model.build(self.manifest.image)
        try:
            load_inference_weights(model, self.weights())
        except (RuntimeError, KeyError) as error:
            raise BundleError(f"{self.path / WEIGHTS}: does not fit the manifest's model: {error}") from None
        return model.eval().requires_grad_(requires_grad=False)


def read_manifest(content: bytes, *, file: str) -> tuple[Manifest, int]:
    """Read a manifest of this format or an earlier one; return it in this format, with the version it was written in.

    Raises:
        BundleError: it is damaged or altered, or a newer version wrote it; ``file`` names it.
    """
    try:
        written = pydantic_core.from_json(content)
    except ValueError as error:
        raise BundleError(f"{file}: is not JSON ({error}); restore a copy, or train again") from None
    if not isinstance(written, dict):
        raise BundleError(f"{file}: is not a manifest; name a folder that train, tune or publish wrote")
    found = written.get("format_version")
    if not isinstance(found, int) or not 1 <= found <= FORMAT_VERSION:
        raise BundleError(f"{file}: format_version {found!r} is not known; read it with the version that wrote it")
    try:
        manifest = Manifest.model_validate_json(pydantic_core.to_json(migrated(written)))
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: {_first_mistake(error)}; damaged, or of another version") from None
    if written.get("checksum") != _fingerprint(written):
        raise BundleError(f"{file}: was altered since it was written; restore a copy, or train again")
    return manifest, found


def write_bundle(
    path: Path,
    *,
    experiment: Origin,
    model: Model,
    metrics: Mapping[str, float],
    provenance: Provenance,
    figures: str = "",
) -> Bundle:
    """Write a model as a bundle; the folder appears only once it is whole.

    ``figures`` are the metrics as people read them, in Markdown for the card.
    """
    able = capabilities(type(model))
    with atomic_folder(path, mode=0o777) as folder:
        save_file({name: weight.contiguous() for name, weight in inference_weights(model).items()}, folder / WEIGHTS)
        pictures = [(name, picture) for capability, (name, picture) in PICTURES.items() if capability in able]
        for name, picture in pictures:
            picture(model, experiment.seed).save(folder / name)
        (folder / CARD).write_text(_card(experiment, model, figures, provenance), encoding="utf-8")
        manifest = Manifest(
            name=experiment.name,
            capabilities=able,
            model=experiment.model,
            image=model.image,
            experiment=experiment.model_dump(mode="json", exclude={"model", "init", "resume", "source", "storage"}),
            metrics=dict(metrics),
            provenance=provenance,
            files={name: _sha256(folder / name) for name in (WEIGHTS, CARD, *(name for name, _ in pictures))},
        )
        manifest = _sealed(manifest, folder)
        shutil.rmtree(path, ignore_errors=True)  # left by a process that died between writing and reporting
    return Bundle(path, manifest)


def annotated(bundle: Bundle, path: Path, heading: str, text: str) -> Bundle:
    """Copy a bundle with a paragraph more on its card, in place of what the path held."""
    with atomic_folder(path, mode=0o777) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        with (folder / CARD).open("a", encoding="utf-8") as card:
            card.write(f"\n## {heading}\n\n{text}\n")
        files = {**bundle.manifest.files, CARD: _sha256(folder / CARD)}
        manifest = _sealed(bundle.manifest.model_copy(update={"files": files, "checksum": ""}), folder)
        shutil.rmtree(path, ignore_errors=True)
    return Bundle(path, manifest)


def _sealed(manifest: Manifest, folder: Path) -> Manifest:
    """Write a manifest with its checksum."""
    checksum = _fingerprint(pydantic_core.from_json(manifest.model_dump_json()))
    manifest = manifest.model_copy(update={"checksum": checksum})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return manifest


def provenance_of(*, dataset: str, note: str, seed: int, steps: int, parents: tuple[str, ...] = ()) -> Provenance:
    """Return where a model comes from, with the time and the packages of this process."""
    return Provenance(
        dataset=dataset,
        note=note,
        seed=seed,
        steps=steps,
        created_at=datetime.now(UTC),
        packages={package: version(package) for package in PACKAGES},
        parents=parents,
    )


@torch.inference_mode()
def draw(model: Model, *, count: int, seed: int, values_at_once: int = VALUES_AT_ONCE) -> Tensor:
    """Sample images of a generative model with indices from 0 on, each of a class drawn for it.

    A server draws the same images for this seed.

    Returns:
        (count, channel, height, width), or (count, channel, slices, height, width) for volumes, on the CPU.
    """
    assert isinstance(model, Generates), "only what generates is drawn from"  # noqa: S101
    weight = next(model.parameters())
    parts = []
    at_once = num_at_once(values_at_once, model.image.shape, copies=COPIES)
    for start in range(0, count, at_once):
        indices = range(start, min(start + at_once, count))
        noise = placed(indexed_noise(model.sample_noise(), seed=seed, indices=indices), weight)
        labels = indexed_labels(model.num_classes, seed=seed, indices=indices)
        parts.append(model.sample(noise, labels.to(weight.device)).float().cpu())
    return torch.cat(parts)


def load_inference_weights(model: Model, weights: Mapping[str, Tensor]) -> None:
    """Load all the weights that a bundle keeps of a model, and nothing else.

    Raises:
        KeyError: one is missing or unknown.
        RuntimeError: one has another shape.
    """
    expected = inference_weights(model)
    if expected.keys() != weights.keys():
        raise KeyError(f"weights {sorted(expected.keys() ^ weights.keys())[:3]} are missing or unknown")
    model.load_state_dict(dict(weights), strict=False)


def inference_weights(model: Model) -> dict[str, Tensor]:
    return {
        name: weight for name, weight in model.state_dict().items() if name.split(".")[0] in model.inference_modules
    }


def _sheet(model: Model, seed: int) -> Image.Image:
    return contact_sheet(to_grey_levels(draw(model, count=SHEET, seed=seed)))


PICTURES: Mapping[str, tuple[str, Callable[[Model, int], Image.Image]]] = {"generate": ("samples.png", _sheet)}
"""Name and drawing function of the picture that each capability adds; none shows a patient's image."""


def _fingerprint(written: Mapping[str, object]) -> str:
    """Return the hash of all of a manifest but its checksum."""
    content = {name: value for name, value in written.items() if name != "checksum"}
    return hashlib.sha256(pydantic_core.to_json(content)).hexdigest()


def _first_mistake(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__} {error}"
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _check(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BundleError(f"{file}: is missing; restore a copy, or train again")
    if _sha256(file) != expected:
        raise BundleError(f"{file}: was altered since it was written; restore a copy, or train again")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


SENTENCES: Mapping[str, str] = {
    "generate": "Draws synthetic images: they show nobody.",
    "reconstruct": "Reconstructs a given image: the answer is derived from that image, and shows the same person.",
    "classify": "Names the class of a given image: a prediction, not a finding.",
    "segment": "Outlines regions of a given image: a prediction, not a finding.",
    "restore": "Restores a given image: the answer is derived from that image, and shows the same person.",
    "score_anomaly": "Scores how unusual an image is: a prediction, not a finding.",
}
"""What a card says about each capability."""


def _card(experiment: Origin, model: Model, figures: str, origin: Provenance) -> str:
    """Return the model card as Markdown."""
    image, able = model.image, capabilities(type(model))
    note = f"**Every figure: {origin.note}.**\n\n" if origin.note else ""
    shape = f"{'x'.join(map(str, image.size))} {'volumes' if image.is_volume else 'images'}"
    sheet = "![Generated samples, none of them real](samples.png)\n\n" if "generate" in able else ""
    sentences = "\n".join(f"- {sentence}" for capability, sentence in SENTENCES.items() if capability in able)
    return f"""# {experiment.name}: a {experiment.model.kind} of {shape}

{sheet}{sentences}

Choices: {_choices(experiment.model) or "none"}.
Images have values from {image.values.low:g} to {image.values.high:g} ({image.values.unit}).
Classes: {", ".join(image.classes) or "none"}.

## Intended use and limits

For research and for the development of software: to try methods, to fill tests and demonstrations, to compare models.
Nothing that it answers is fit for diagnosis or treatment, and no regulator has seen it.

It knows the images of its dataset alone: other scanners, protocols, body parts and populations are unknown to it, and
what is rare in its dataset is rarer or missing in its answers. A model may have learned single training images by
heart; where `copies` is among the figures, it says how many samples come that near to one.

## Figures on the validation split

{note}{figures or "None."}

## Where it comes from

Dataset `{origin.dataset}`, seed {origin.seed}, {origin.steps} steps, written {origin.created_at:%Y-%m-%d %H:%M} UTC
with {", ".join(f"{package} {number}" for package, number in sorted(origin.packages.items()))}.
"""


def _choices(model: Config) -> str:
    """Name the kinds, and the words that a search chooses among, of one model."""
    chosen: dict[str, str] = {}
    for leaf in leaves(type(model)):
        if is_open(leaf.name, chosen) and (leaf.kinds or any(isinstance(each, Choice) for each in leaf.info.metadata)):
            value = attrgetter(path_of(leaf.name))(model)
            if isinstance(value, str):
                chosen[leaf.name] = value
    return ", ".join(f"{path_of(name).removesuffix('.kind')} {value}" for name, value in chosen.items())
