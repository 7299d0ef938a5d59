"""The directory of a DICOM medium, such as a CD-ROM from a clinic."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from rayology.data.sources.files.archive import safe_name
from rayology.data.suppression import suppress_output
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError

__all__ = ["referenced_files"]

MAX_BYTES = 2**25
"""Most bytes of a DICOMDIR, for which pydicom takes twenty times as much memory."""
OUT_OF_USE = 0  # DICOM PS3.3 F.3.2.2, Record In-use Flag


def referenced_files(directory: Path) -> list[Path]:
    """Return the files that a DICOMDIR refers to (DICOM PS3.3 F.3), in its order, whether they exist or not.

    Names are matched as CD-ROMs are mounted: in upper or lower case, with or without a version.

    Raises:
        SourceError: the file is not a DICOMDIR or is damaged, or refers outside its folder or to what is not a file.
    """
    if directory.stat().st_size > MAX_BYTES:
        raise SourceError(f"{directory}: has more than {MAX_BYTES} bytes; set source.path to the folder around it")
    names = cache(_names_in)
    files = dict.fromkeys(_found(directory.parent, reference, names) for reference in _references(directory))
    root = directory.parent.resolve()
    for file in files:
        # A pipe or a device is not a file, and reading one may never end.
        if not file.resolve().is_relative_to(root) or (file.exists() and not file.is_file()):
            raise SourceError(f"{directory}: refers to what lies outside its folder or is not a file; copy the medium")
    return list(files)


def _references(directory: Path) -> list[Path]:
    """Return every Referenced File ID as a relative path."""
    formats = "not a folder, an archive (.zip, .tar, .tar.gz, .tgz, .tar.xz) or a DICOMDIR that can be read"
    # pydicom's errors about a damaged file have no common base, and its logs may name a patient.
    with as_source_error(directory, formats, "set source.path to one", Exception), suppress_output():
        meta = read_file_meta_info(directory)
        # DICOM PS3.10 8.6 requires an uncompressed syntax, and pydicom inflates without a limit.
        is_plain = meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian
        if meta.MediaStorageSOPClassUID == MediaStorageDirectoryStorage and is_plain:
            records = dcmread(directory, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
            return [safe_name(name) for record in records if (name := _name(record))]
    raise SourceError(f"{directory}: is a DICOM file, but not a DICOMDIR; set source.path to the folder around it")


def _name(record: Dataset) -> str:
    """Return the Referenced File ID of a record in use, its components joined; else an empty string."""
    components = record.get("ReferencedFileID") or []
    if record.get("RecordInUseFlag") == OUT_OF_USE:
        return ""
    return "/".join(component.strip() for component in ([components] if isinstance(components, str) else components))


def _found(folder: Path, reference: Path, names: Callable[[Path], dict[str, str]]) -> Path:
    for component in reference.parts:
        known = names(folder)
        folder /= known.get(component) or known.get(_bare(component)) or component
    return folder


def _names_in(folder: Path) -> dict[str, str]:
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return {_bare(name): name for name in names} | {name: name for name in names}


def _bare(name: str) -> str:
    """Remove what ISO 9660 adds to a name."""
    return re.sub(r"\.?(;\d+)?$", "", name).upper()
