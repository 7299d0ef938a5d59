"""One instance from an archive into a file, by WADO-RS (DICOM PS3.18 10.4)."""

import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from requests import RequestException, Response, Session
from urllib3.exceptions import HTTPError

from rayology.data.landing import landing_file
from rayology.errors import SourceError, UnreadableImage

__all__ = ["UNKNOWN_USER", "Patience", "fetch_instance"]

HEADERS = {
    # Any other syntax than the stored one would have the archive decode and encode the image.
    "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
    "Accept-Encoding": "identity",
}
UNKNOWN_USER = (
    "refuses who asks; set RAYOLOGY_DICOMWEB_TOKEN, or RAYOLOGY_DICOMWEB_USER and RAYOLOGY_DICOMWEB_PASSWORD, in the"
    " environment"
)
CHUNK = 2**16
MAX_BYTES = 2**30
"""The largest instance; the reader opens no larger file."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for an answer, and how often to ask again."""

    silence_s: float
    """The longest time without a byte."""
    whole_s: float = 600.0
    """The longest time for an instance."""
    retries: int = 3
    backoff_s: float = 0.5
    """The time before the second retry; it doubles with each further one."""


class _Broken(Exception):
    """An answer that ended too early, or did not end."""


def fetch_instance(session: Session, url: str, file: Path, patience: Patience) -> None:
    """Write an instance as it is stored into a file, which appears in one step; memory stays bounded.

    The session asks again where no answer comes, this function where it breaks off.

    Raises:
        UnreadableImage: the instance does not come, however often it is asked for.
        SourceError: the archive knows no such user.
        OSError: the file cannot be written.
    """
    reason = ""
    for _ in range(1 + patience.retries):
        try:
            return _fetch_once(session, url, file, patience)
        except _Broken as error:
            reason = str(error)
    raise UnreadableImage(f"did not come from the archive: {reason}")


def _fetch_once(session: Session, url: str, file: Path, patience: Patience) -> None:
    try:
        with session.get(url, headers=HEADERS, stream=True, timeout=patience.silence_s) as response:
            if response.status_code == 401:
                raise SourceError(f"the archive {UNKNOWN_USER}")
            if response.status_code != 200:
                raise UnreadableImage(f"did not come from the archive: HTTP {response.status_code}")
            with landing_file(file) as opened:
                _copy(response, opened, patience.whole_s)
    except RequestException as error:
        # The words of others hold the address, and with it the UIDs.
        raise UnreadableImage(f"did not come from the archive: {type(error).__name__}") from None
    except (HTTPError, FormParserError) as error:
        raise _Broken(type(error).__name__) from None


def _copy(response: Response, opened: BinaryIO, whole_s: float) -> None:
    """Write the only part of a multipart answer."""
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    if header.get_content_type() != "multipart/related":
        raise UnreadableImage(f"came from the archive as {header.get_content_type()[:40]}, no multipart of DICOM")
    parts = _Parts(opened)
    parser = MultipartParser(
        header.get_boundary(failobj=""),
        {"on_part_begin": parts.begin, "on_part_data": parts.write, "on_end": parts.end},
    )
    until = time.monotonic() + whole_s
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        parser.write(chunk)
        if time.monotonic() > until:
            raise _Broken(f"takes more than {whole_s:g} s")
    if not parts.ended:
        raise _Broken("truncated")


class _Parts:
    """Take what the parser finds: one part, of a bounded size."""

    def __init__(self, opened: BinaryIO) -> None:
        self.ended = False
        self._opened = opened
        self._number = 0

    def begin(self) -> None:
        self._number += 1
        if self._number > 1:
            raise UnreadableImage("came from the archive with another instance")

    def write(self, data: bytes, start: int, end: int) -> None:
        self._opened.write(memoryview(data)[start:end])
        if self._opened.tell() > MAX_BYTES:
            raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")

    def end(self) -> None:
        self.ended = True
