"""An archive that speaks DICOMweb: QIDO-RS lists, WADO-RS fetches (DICOM PS3.18)."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import Field, PositiveFloat, PositiveInt

from rayology.atomic import UNFINISHED, sole_use, write_atomic
from rayology.config import Config
from rayology.data.dicom import Selection, instances
from rayology.data.dicom.values import ModalityCode
from rayology.data.sources.service import Address, Patience, Service
from rayology.data.sources.source import Example, Item
from rayology.data.suppression import suppress_output
from rayology.errors import SourceError, UnreadableImage

__all__ = ["DicomwebConfig", "DicomwebSource"]

logger = logging.getLogger(__name__)

MAX_IN_A_ROW = 20
"""Number of failures in a row after which no further instance is asked for."""
NETRC = Path("~/.netrc")
FAILED = ".failed"
"""Suffix of the file that replaces an instance that did not come and holds the reason."""


class DicomwebConfig(Config):
    """Instances that an archive finds; the environment holds RAYOLOGY_DICOMWEB_TOKEN, or _USER and _PASSWORD."""

    kind: Literal["dicomweb"] = "dicomweb"
    """This source."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$", title="a web address without @, ? and #")]
    """Address of the service, such as https://archive.example/dicom-web."""
    modality: ModalityCode = ""
    """Modality of the series, such as CT; empty for all."""
    study: Annotated[str, Field(pattern=r"^([0-9][0-9.]{0,63})?$", title="a UID of digits and dots")] = ""
    """Study Instance UID of the only study; empty for all."""
    study_date: Annotated[
        str, Field(pattern=r"^([0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8})?$", title="YYYYMMDD or a range")
    ] = ""
    """Dates of the studies: YYYYMMDD, or a range such as 20200101-20201231; empty for all."""
    series_description: str = "*"
    """Pattern of the series' description in either case; ? is one character, * any number."""
    selection: Selection = Selection()
    """Rules for the wanted images; the others count as skipped and are not decoded."""
    limit: PositiveInt = 100_000
    """Most instances."""
    connections: Annotated[int, Field(ge=1, le=32)] = 4
    """Number of instances that are fetched at a time."""
    timeout_s: PositiveFloat = 30.0
    """Seconds for which the archive may be silent before it is asked again."""

    def build(self, root: Path) -> "DicomwebSource":
        """Return the source, which keeps what it fetches below a root."""
        return DicomwebSource(self, root, Patience(self.timeout_s))


@dataclass(frozen=True)
class DicomwebSource:
    """Fetch what an archive finds into ``sources/dicomweb-HASH`` below a root, each instance once."""

    config: DicomwebConfig
    root: Path
    patience: Patience

    def items(self) -> Sequence[Item]:
        """Fetch missing instances, and list all in the order of their UIDs.

        An instance that does not come is listed as a file with the reason; the next call asks for it again.

        Raises:
            SourceError: the archive cannot be reached, refuses, finds nothing or stops answering, or the disk is full.
        """
        folder = self.root / "sources" / f"dicomweb-{_digest(self.config.url)[:16]}"
        try:
            with suppress_output(), _service(self.config, self.patience) as service, sole_use(folder):
                folder.mkdir(mode=0o700, exist_ok=True)
                for left in folder.glob(f"*{UNFINISHED}"):  # by a killed process
                    left.unlink()
                files = {folder / f"{_digest(address.instance)}.dcm": address for address in self._found(service)}
                self._fetch(service, {file: address for file, address in files.items() if not file.is_file()})
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SourceError(f"{folder}: cannot be written ({reason}); free space or set storage") from None
        return [Item(file if file.is_file() else file.with_suffix(FAILED)) for file in files]

    def read(self, item: Item) -> Iterator[Example]:
        """Read every frame of an instance.

        Raises:
            UnreadableImage: it did not come from the archive.
            DataError: ``rayology.data.dicom.read`` raises it.
        """
        if item.path.suffix == FAILED:
            raise UnreadableImage(item.path.read_text(encoding="utf-8"))
        for instance in instances(item.path, selection=self.config.selection):
            yield Example(instance)

    def _found(self, service: Service) -> list[Address]:
        config = self.config
        addresses = service.addresses(
            study=config.study,
            study_date=config.study_date,
            modality=config.modality,
            series_description=config.series_description,
        )
        found = sorted(islice(addresses, config.limit))
        if not found:
            raise SourceError(f"{config.url}: finds no instance; ask for more, such as another source.modality")
        return found

    def _fetch(self, service: Service, missing: dict[Path, Address]) -> None:
        """Fetch instances, several at a time; count those that do not come."""
        failures = Counter[str]()
        in_a_row = 0
        with ThreadPoolExecutor(self.config.connections) as pool:
            try:
                for reason in pool.map(partial(_outcome, service), missing, missing.values()):
                    failures[reason] += 1
                    in_a_row = in_a_row + 1 if reason else 0
                    if in_a_row == MAX_IN_A_ROW:
                        wrong = f"{in_a_row} instances in a row did not come, and the last {reason}"
                        raise SourceError(f"{self.config.url}: {wrong}; run it again to fetch the rest")
            finally:
                pool.shutdown(cancel_futures=True)
        logger.info("Fetched %d instances.", failures.pop("", 0))
        for reason, number in failures.items():
            logger.warning("%d instances are left out: each %s.", number, reason)


def _outcome(service: Service, file: Path, address: Address) -> str:
    """Fetch an instance; if it does not come, write and return the reason."""
    failed = file.with_suffix(FAILED)
    try:
        with suppress_output():  # in a thread of its own
            service.fetch(address, file)
    except UnreadableImage as error:
        reason = str(error)
        # The same reason keeps its file, and with it the dataset's fingerprint.
        if not failed.is_file() or failed.read_text(encoding="utf-8") != reason:
            write_atomic(failed, reason.encode())
        return reason
    failed.unlink(missing_ok=True)
    return ""


@contextmanager
def _service(config: DicomwebConfig, patience: Patience) -> Iterator[Service]:
    """Open the service with credentials from the environment, else from ~/.netrc."""
    token, user = (os.environ.get(f"RAYOLOGY_DICOMWEB_{name}", "") for name in ("TOKEN", "USER"))
    auth: httpx.Auth | None = None
    if not token and user:
        auth = httpx.BasicAuth(user, os.environ.get("RAYOLOGY_DICOMWEB_PASSWORD", ""))
    elif not token and NETRC.expanduser().is_file():
        auth = httpx.NetRCAuth(str(NETRC.expanduser()))
    # A compressed answer could become any size.
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}
    with httpx.Client(auth=auth, headers=headers, timeout=patience.silence_s, follow_redirects=True) as client:
        yield Service(client, config.url.rstrip("/"), patience)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
