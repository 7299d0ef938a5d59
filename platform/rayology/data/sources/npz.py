"""Arrays of numbers in npz files, of which nothing is ever unpickled."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from rayology.data.sources.deflated import DeflatedArray, checked
from rayology.errors import SourceError

__all__ = ["open_npz"]

ZIP = b"PK\x03\x04"  # APPNOTE 4.3.7


def open_npz(file: Path, name: str) -> DeflatedArray:
    """Read the header of a named array of whole numbers in an npz file.

    Raises:
        SourceError: says which of it is wrong: the file is not there, no zip, truncated or encrypted; or the array is
            not there, damaged, or holds pickled objects or other numbers.
    """
    member = f"{name}.npy"
    with _explained(file, name), zipfile.ZipFile(file) as archive:
        held = archive.namelist()
        if member not in held:  # whose names stay unsaid, for this may be an archive of anything
            raise SourceError(f"holds no array {name}, but {len(held)} others; set source.path to a file that has it")
        with archive.open(member) as stream:
            return _described(file, name, stream)


def _described(file: Path, name: str, stream: IO[bytes]) -> DeflatedArray:
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_column_major, dtype = read_header(stream)
    if dtype.hasobject:
        raise SourceError(f"its array {name} holds pickled objects, which are never unpickled; write numbers instead")
    if dtype.kind not in "iu":
        raise SourceError(f"its array {name} holds values of type {dtype.name}; write whole numbers, such as uint8")
    if is_column_major:
        raise SourceError(f"its array {name} lies in column order; write numpy.ascontiguousarray of it")
    try:
        return checked(DeflatedArray(file, f"{name}.npy", stream.tell(), shape, dtype.str), file.stat().st_size)
    except ValueError:
        raise SourceError(f"its array {name} has no row, or more than the file can hold; copy it again") from None


@contextmanager
def _explained(file: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{file}: cannot be opened ({reason}); set source.path to an npz file") from None
    except SourceError as error:
        raise SourceError(f"{file}: {error}") from None
    except zipfile.BadZipFile:
        raise SourceError(f"{file}: {_no_zip(file)}") from None
    except RuntimeError:  # a NotImplementedError is one
        raise SourceError(
            f"{file}: is encrypted, or packed by a method that is not read; write it with numpy.savez_compressed"
        ) from None
    except (EOFError, ValueError, struct.error, zlib.error) as error:
        raise SourceError(
            f"{file}: its array {name} cannot be read ({type(error).__name__}), so it is damaged; copy it again"
        ) from None


def _no_zip(file: Path) -> str:
    with file.open("rb") as opened:
        if opened.read(len(ZIP)) == ZIP:
            return (
                "starts as a zip file, but its end is missing or damaged, as where a copy was cut short; copy it again"
            )
    return "is no zip file, as every npz file is; write it with numpy.savez_compressed"
