"""Read files into volumes: each series in spatial order, or the reason why it makes no volume."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rayology.data.dicom import Instance, Selection, instances
from rayology.data.volumes.assembly import assemble
from rayology.data.volumes.series import NO_SERIES, Frame, SeriesConfig
from rayology.data.volumes.stack import COPY, arrange
from rayology.data.volumes.volume import Volume
from rayology.errors import DataError, NotSelected, SeriesError

__all__ = ["Volumes", "read_volumes"]

DEFAULTS = SeriesConfig()
ANATOMY = Selection()
"""Rules that leave localizers, mosaics and pages out."""


@dataclass(frozen=True)
class Volumes:
    """Volumes of some files, and what became of the rest."""

    volumes: tuple[Volume, ...]
    mended: tuple[tuple[str, ...], ...]
    """What was wrong with the slices of each volume and is mended."""
    refused: tuple[SeriesError, ...]
    """Errors that say why a series, or a part of one, makes no volume, and in ``files`` which files."""
    skipped: tuple[tuple[Path, DataError], ...]
    """Files without a wanted image, and files with a frame that is not wanted or that the rules drop."""


def read_volumes(files: Iterable[Path], rules: SeriesConfig = DEFAULTS, *, selection: Selection = ANATOMY) -> Volumes:
    """Read files in any order into volumes in modality units, all in memory at once.

    Localizers, mosaics and pages are left out unless the selection includes them. Slices are ordered by position, never
    by instance number. A series that is not a regular stack of slices is refused or mended as the rules say, and no
    file is left out silently.
    """
    read: dict[Frame, Instance] = {}
    skipped: list[tuple[Path, DataError]] = []
    for file in files:
        try:
            frames = dict(_frames(file, selection))  # all or nothing of a file
        except DataError as error:
            skipped.append((file, error))
            continue
        read.update(frames)
        skipped += [(file, NotSelected(why)) for why in {instance.left_out for instance in frames.values()} if why]
    arranged = arrange(list(read), rules)
    return Volumes(
        volumes=tuple(
            assemble(stack, [read[each].pixels for each in stack.frames], [read[each].valid for each in stack.frames])
            for stack in arranged.stacks
        ),
        mended=tuple(stack.mended for stack in arranged.stacks),
        refused=arranged.refused,
        skipped=(*skipped, *((each.file, SeriesError(why)) for each, why in arranged.left_out if why == COPY)),
    )


def _frames(file: Path, selection: Selection) -> Iterator[tuple[Frame, Instance]]:
    for instance in instances(file, selection=selection):
        if not instance.identity.series:
            raise SeriesError(NO_SERIES, [file])
        frame = Frame.of(
            instance.pixels,
            instance.identity,
            file=file,
            number=instance.number,
            geometry=instance.geometry,
            facts=instance.facts,
        )
        yield frame, instance
