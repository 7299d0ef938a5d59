"""Ask a DICOMweb service what it holds (QIDO-RS) and for instances (WADO-RS; DICOM PS3.18 10.6, 10.4)."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

import httpx
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from rayology.atomic import atomic_file
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError, UnreadableImage

__all__ = ["Address", "Patience", "Service"]

PAGE = 1000
STUDY, SERIES, INSTANCE, SERIES_DESCRIPTION = "0020000D", "0020000E", "00080018", "0008103E"
JSON = {"Accept": "application/dicom+json"}
# For another syntax than the stored one, the archive would have to decode and encode the image.
STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
PASSING = (408, 429, 500, 502, 503, 504)
"""HTTP statuses of trouble that may pass."""
UNKNOWN_USER = (
    "refuses the credentials; set RAYOLOGY_DICOMWEB_TOKEN, or RAYOLOGY_DICOMWEB_USER and RAYOLOGY_DICOMWEB_PASSWORD, in"
    " the environment"
)
UNKNOWN_AUTHORITY = "the archive has a certificate that cannot be verified; name its authority's file in SSL_CERT_FILE"
NO_JSON = (ValueError, AttributeError, TypeError, LookupError)
"""What is raised by an answer that is not DICOM JSON."""
MAX_BYTES = 2**30
"""Bytes of the largest instance, which is the largest file that the reader opens."""

Entry = dict[str, dict[str, list[object]]]
"""Attributes of a match in the DICOM JSON model (DICOM PS3.18 F.2)."""


@dataclass(frozen=True, order=True)
class Address:
    """UIDs under which an archive holds an instance."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        """Path of the instance below the service's URL (DICOM PS3.18 10.4.1.1)."""
        return f"studies/{self.study}/series/{self.series}/instances/{self.instance}"


@dataclass(frozen=True)
class Patience:
    """How long to wait for an answer, and how often to ask again."""

    silence_s: float
    """Longest time without a byte."""
    whole_s: float = 600.0
    """Longest time for an instance."""
    retries: int = 3
    backoff_s: float = 0.5
    """Time before the second retry, doubled for each further one."""


class _Broken(Exception):
    """An answer that ended too early, or did not end."""


@dataclass(frozen=True)
class Service:
    """What a client may ask an archive; several threads may ask at once."""

    client: httpx.Client
    url: str
    patience: Patience

    def addresses(self, *, study: str, study_date: str, modality: str, series_description: str) -> Iterator[Address]:
        """Yield the address of each matching instance; an empty string matches all.

        Raises:
            SourceError: the archive cannot be reached, refuses, or does not answer with DICOM JSON.
        """
        wanted = {"StudyInstanceUID": study, "StudyDate": study_date, "ModalitiesInStudy": modality}
        of_study = {"Modality": modality, "includefield": "SeriesDescription"}
        with (
            as_source_error(self.url, "cannot be reached or is silent", "check source.url", httpx.HTTPError),
            as_source_error(self.url, "answers with something else than DICOM JSON", "check source.url", *NO_JSON),
        ):
            for study_uid, _ in self._matches("studies", STUDY, wanted):
                for series, entry in self._matches(f"studies/{study_uid}/series", SERIES, of_study):
                    # An archive need not match descriptions, but has to return them.
                    if fnmatchcase(_first(entry, SERIES_DESCRIPTION).lower(), series_description.lower()):
                        path = f"studies/{study_uid}/series/{series}/instances"
                        for instance, _ in self._matches(path, INSTANCE, {}):
                            yield Address(study_uid, series, instance)

    def fetch(self, address: Address, file: Path) -> None:
        """Write an instance as it is stored into a file, in one step and with bounded memory.

        Raises:
            UnreadableImage: the instance does not come after all retries.
            SourceError: the archive refuses the credentials.
            OSError: the file cannot be written.
        """
        reason = ""
        for _ in range(1 + self.patience.retries):
            try:
                return self._fetch_once(address, file)
            except _Broken as error:
                reason = str(error)
        raise UnreadableImage(f"did not come from the archive: {reason}")

    def _matches(self, path: str, uid: str, wanted: dict[str, str]) -> Iterator[tuple[str, Entry]]:
        """Yield each match with its UID, page by page, until a page brings nothing new."""
        filters = {keyword: value for keyword, value in wanted.items() if value}
        seen: set[str] = set()
        offset = 0
        while True:
            with self._answer(path, JSON, {**filters, "limit": str(PAGE), "offset": str(offset)}) as response:
                if not response.is_success:
                    raise SourceError(_meaning(response.status_code))
                response.read()
            entries: list[Entry] = response.json() if response.content else []  # 204 has none
            page = {_first(entry, uid): entry for entry in entries}
            if page.keys() <= seen:
                return
            for value, entry in page.items():
                # It becomes part of an address. Real archives hold UIDs with letters, which are harmless there.
                if value not in seen and re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}", value):
                    yield value, entry
            seen |= page.keys()
            offset += len(page)

    def _fetch_once(self, address: Address, file: Path) -> None:
        try:
            with self._answer(address.path, STORED, {}) as response:
                if response.status_code == 401:
                    raise SourceError(f"the archive {UNKNOWN_USER}")
                if response.status_code != 200:
                    raise UnreadableImage(f"did not come from the archive: HTTP {response.status_code}")
                with atomic_file(file) as opened:
                    _copy(response, opened, self.patience.whole_s)
        except httpx.HTTPError as error:
            # The texts of these errors hold the address, and with it the UIDs.
            raise UnreadableImage(f"did not come from the archive: {type(error).__name__}") from None

    @contextmanager
    def _answer(self, path: str, headers: dict[str, str], params: dict[str, str]) -> Iterator[httpx.Response]:
        """Lend an answer whose body has not been read; ask again if none comes, or trouble that may pass."""
        request = self.client.build_request("GET", f"{self.url}/{path}", headers=headers, params=params)
        for left in reversed(range(1 + self.patience.retries)):
            try:
                response = self.client.send(request, stream=True)
            except httpx.TransportError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise SourceError(UNKNOWN_AUTHORITY) from None
                if not left:
                    raise
            else:
                if not left or response.status_code not in PASSING:
                    break
                response.close()
            if left < self.patience.retries:
                time.sleep(self.patience.backoff_s * 2 ** (self.patience.retries - left - 1))
        try:
            yield response
        finally:
            response.close()


def _copy(response: httpx.Response, opened: BinaryIO, whole_s: float) -> None:
    """Write the only part of a multipart answer."""
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    if header.get_content_type() != "multipart/related":
        raise UnreadableImage(f"came from the archive as {header.get_content_type()[:40]}, not as multipart DICOM")
    parts = _Parts(opened)
    until = time.monotonic() + whole_s
    try:
        parser = MultipartParser(
            header.get_boundary(failobj=""),
            {"on_part_begin": parts.begin, "on_part_data": parts.write, "on_end": parts.end},
        )
        for chunk in response.iter_raw():
            parser.write(chunk)
            if time.monotonic() > until:
                raise _Broken(f"takes more than {whole_s:g} s")
    except (httpx.TransportError, FormParserError) as error:
        raise _Broken(type(error).__name__) from None
    if not parts.ended:
        raise _Broken("truncated")


class _Parts:
    """Write what the parser finds: one part of a bounded size."""

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


def _first(entry: Entry, tag: str) -> str:
    """Return the first value of an attribute, or an empty string."""
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _meaning(status: int) -> str:
    if status in {401, 403}:
        return UNKNOWN_USER
    return f"answers HTTP {status}; " + ("check source.url" if status == 404 else "see the archive's own log")
