"""What an archive holds, by QIDO-RS (DICOM PS3.18 10.6)."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from dicomweb_client import DICOMwebClient
from requests import HTTPError, RequestException, Session
from requests.exceptions import SSLError

from rayology.data.sources.wado import UNKNOWN_USER
from rayology.errors import SourceError

__all__ = ["Address", "Query", "addresses"]

PAGE = 1000
STUDY, SERIES, INSTANCE, SERIES_DESCRIPTION = "0020000D", "0020000E", "00080018", "0008103E"

Entry = dict[str, dict[str, list[object]]]
"""The attributes of a match in the DICOM JSON model (DICOM PS3.18 F.2)."""


@dataclass(frozen=True, order=True)
class Address:
    """The UIDs under which an archive holds an instance."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        """The address of the instance below that of the service (DICOM PS3.18 10.4.1.1)."""
        return f"studies/{self.study}/series/{self.series}/instances/{self.instance}"


@dataclass(frozen=True)
class Query:
    """Which instances to look for; an empty string asks for all."""

    study: str
    study_date: str
    modality: str
    series_description: str


def addresses(session: Session, url: str, query: Query, silence_s: float) -> Iterator[Address]:
    """Give the address of every instance that a query finds; the archive may be silent for so many seconds.

    Raises:
        SourceError: the archive cannot be reached, refuses, or does not answer with DICOM JSON.
    """
    with _explained(url):
        client = DICOMwebClient(url, session=session, timeout=silence_s, permissive_uid=True)
        client.set_http_retry_params(retry=False)  # the session does
        wanted = {"StudyInstanceUID": query.study, "StudyDate": query.study_date, "ModalitiesInStudy": query.modality}
        for study, _ in _matches(client.search_for_studies, STUDY, wanted):
            of_study = partial(client.search_for_series, study, fields=["SeriesDescription"])
            for series, entry in _matches(of_study, SERIES, {"Modality": query.modality}):
                # An archive may not match by descriptions: it has to return them.
                if fnmatchcase(_first(entry, SERIES_DESCRIPTION).lower(), query.series_description.lower()):
                    of_series = partial(client.search_for_instances, study, series)
                    for instance, _ in _matches(of_series, INSTANCE, {}):
                        yield Address(study, series, instance)


def _matches(search: Callable[..., list[Entry]], uid: str, wanted: dict[str, str]) -> Iterator[tuple[str, Entry]]:
    """Give every match with its UID, page after page, until a page brings nothing new."""
    filters = {keyword: value for keyword, value in wanted.items() if value}
    seen: set[str] = set()
    offset = 0
    while True:
        page = {_first(entry, uid): entry for entry in search(search_filters=filters, limit=PAGE, offset=offset)}
        if page.keys() <= seen:
            return
        for value, entry in page.items():
            # It becomes a part of an address. Real archives hold UIDs with letters, which are harmless there.
            if value not in seen and re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}", value):
                yield value, entry
        seen |= page.keys()
        offset += len(page)


def _first(entry: Entry, tag: str) -> str:
    """Return the first value of an attribute; empty where it has none."""
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0])


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what can go wrong into our own error; the words of others hold addresses, and with them UIDs."""
    try:
        yield
    except SSLError:
        raise SourceError(
            f"{url}: has a certificate that cannot be verified; name its authority's file in REQUESTS_CA_BUNDLE"
        ) from None
    except HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        raise SourceError(f"{url}: {_meaning(status)}") from None
    except (ValueError, AttributeError, TypeError, LookupError):
        raise SourceError(f"{url}: answers with something else than DICOM JSON; check source.url") from None
    except RequestException as error:
        raise SourceError(f"{url}: cannot be reached or is silent ({type(error).__name__}); check source.url") from None


def _meaning(status: int) -> str:
    if status in {401, 403}:
        return UNKNOWN_USER
    return f"answers HTTP {status}; " + ("check source.url" if status == 404 else "see the archive's own log")
