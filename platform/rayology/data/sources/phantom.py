"""A source without data: labelled thorax CT of synthetic patients, drawn once and written as DICOM."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from rayology.atomic import make_once
from rayology.config import Config
from rayology.data.dicom import read
from rayology.data.sources.raster import read_mask
from rayology.data.sources.source import Example, Item
from rayology.errors import SourceError
from rayology.phantom import EDITION, digest, write_patient

__all__ = ["PhantomConfig", "PhantomSource"]

logger = logging.getLogger(__name__)


class PhantomSource:
    """Synthetic patients in ``sources/phantom-HASH`` below a root, drawn when they are first listed."""

    def __init__(self, config: "PhantomConfig", root: Path) -> None:
        self.config = config
        self.path = root / "sources" / f"phantom-{digest(config.model_dump_json(), EDITION)[:12]}"

    def items(self) -> Sequence[Item]:
        """List all slices, drawn at the first call, and raise SourceError if some are missing later."""
        make_once(self.path, self._draw)
        images = sorted((self.path / "images").glob("*/*/*.dcm"))
        expected = self.config.patients * self.config.slices
        if len(images) != expected:
            raise SourceError(f"{self.path}: {len(images)} of {expected} files; delete the folder to draw them again")
        masks = [self.path / "masks" / Path(*image.parts[-3:]).with_suffix(".png") for image in images]
        return [Item(image, label=image.parts[-3], beside=(mask,)) for image, mask in zip(images, masks, strict=True)]

    def read(self, item: Item) -> Iterator[Example]:
        """Read a slice with its class and mask, and raise what the DICOM reader raises."""
        (instance,) = read(item.path)
        yield Example(instance, label=item.label, mask=read_mask(item.beside[0], instance.valid.shape))

    def _draw(self, folder: Path) -> None:
        config = self.config
        key = config.model_copy(update={"patients": 0}).model_dump_json()  # all that shapes a patient's pixels
        for patient in range(config.patients):
            write_patient(folder, patient, seed=config.seed, size=config.size, slices=config.slices, key=key)
        logger.info("Drew %d patients in %s.", config.patients, self.path)


class PhantomConfig(Config):
    """Synthetic patients, drawn and written as DICOM: nothing real is needed."""

    kind: Literal["phantom"] = "phantom"
    """This source."""
    patients: Annotated[int, Field(ge=1, le=9999)] = 60
    """Number of patients; each has one class of lesion, in turn."""
    slices: Annotated[int, Field(ge=1, le=16)] = 8
    """Number of axial slices of each patient, 5 mm apart."""
    size: Annotated[int, Field(ge=32, le=512)] = 128
    """Rows and columns of a slice; the field of view is 360 mm."""
    seed: NonNegativeInt = 0
    """Seed of everything drawn; patients of another seed are other patients."""

    def build(self, root: Path) -> PhantomSource:
        """Return the source, which keeps what it draws below a root."""
        return PhantomSource(self, root)
