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
from rayology.data.dicom import instances
from rayology.data.dicom.values import ModalityCode
from rayology.data.sources.service import Address, Patience, Query, Service
from rayology.data.sources.source import Example, Item
from rayology.data.suppression import suppress_output
from rayology.errors import SourceError, UnreadableImage

__all__ = ["DicomwebConfig", "DicomwebSource"]

logger = logging.getLogger(__name__)

MAX_IN_A_ROW = 20
"""After so many instances that did not come, one after the other, no further one is asked for."""
NETRC = Path("~/.netrc")
FAILED = ".failed"
"""What stands in the place of an instance that did not come; it holds the reason."""


class DicomwebConfig(Config):
    """The instances that an archive finds; the environment holds RAYOLOGY_DICOMWEB_TOKEN, or _USER and _PASSWORD."""

    kind: Literal["dicomweb"] = "dicomweb"
    """This source."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")]
    """The address of the service, such as https://archive.example/dicom-web."""
    modality: ModalityCode = ""
    """The modality of the series, such as CT; empty for all."""
    study: Annotated[str, Field(pattern=r"^([0-9][0-9.]{0,63})?$")] = ""
    """The Study Instance UID of the only study; empty for all."""
    study_date: Annotated[str, Field(pattern=r"^([0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8})?$")] = ""
    """The days of the studies: YYYYMMDD, or from and to such as 20200101-20201231; empty for all."""
    series_description: str = "*"
    """The pattern of the series' description in any case; ? is one character, * any number."""
    limit: PositiveInt = 100_000
    """How many instances at most."""
    connections: Annotated[int, Field(ge=1, le=32)] = 4
    """How many instances are fetched at a time."""
    timeout_s: PositiveFloat = 30.0
    """How long the archive may be silent before it is asked again."""

    def build(self, root: Path) -> "DicomwebSource":
        """Keep what is fetched below a root."""
        return DicomwebSource(self, root, Patience(self.timeout_s))


@dataclass(frozen=True)
class DicomwebSource:
    """Fetch what an archive finds into ``sources/dicomweb-HASH`` below a root, each instance once."""

    config: DicomwebConfig
    root: Path
    patience: Patience

    def items(self) -> Sequence[Item]:
        """List every instance in the order of the UIDs, after those that are not there yet were fetched.

        One that does not come is listed as well, as a file with the reason; the next call asks for it again.

        Raises:
            SourceError: the archive cannot be reached, refuses, finds nothing, or stops to answer; or the disk is full.
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
            DataError: as ``rayology.data.dicom.read`` raises.
        """
        if item.path.suffix == FAILED:
            raise UnreadableImage(item.path.read_text(encoding="utf-8"))
        for instance in instances(item.path):
            yield Example(instance)

    def _found(self, service: Service) -> list[Address]:
        config = self.config
        query = Query(config.study, config.study_date, config.modality, config.series_description)
        found = sorted(islice(service.addresses(query), config.limit))
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
                    self._check(in_a_row, reason)
            finally:
                pool.shutdown(cancel_futures=True)
        logger.info("Fetched %d instances.", failures.pop("", 0))
        for reason, number in failures.items():
            logger.warning("%d instances are left out: each %s.", number, reason)

    def _check(self, in_a_row: int, reason: str) -> None:
        """Stop where an archive seems to be gone."""
        if in_a_row == MAX_IN_A_ROW:
            raise SourceError(
                f"{self.config.url}: {in_a_row} instances in a row did not come, and the last {reason}; run it again to"
                " fetch the rest"
            )


def _outcome(service: Service, file: Path, address: Address) -> str:
    """Fetch an instance; return the reason where it does not come, which then stands in its place."""
    failed = file.with_suffix(FAILED)
    try:
        with suppress_output():  # in a thread of its own
            service.fetch(address, file)
    except UnreadableImage as error:
        reason = str(error)
        # The same reason keeps its file: the dataset is the same then.
        if not failed.is_file() or failed.read_text(encoding="utf-8") != reason:
            write_atomic(failed, reason.encode())
        return reason
    failed.unlink(missing_ok=True)
    return ""


@contextmanager
def _service(config: DicomwebConfig, patience: Patience) -> Iterator[Service]:
    """Give the service, which is shown who asks: as the environment says, else as ~/.netrc does."""
    token, user = (os.environ.get(f"RAYOLOGY_DICOMWEB_{name}", "") for name in ("TOKEN", "USER"))
    auth: httpx.Auth | None = None
    if not token and user:
        auth = httpx.BasicAuth(user, os.environ.get("RAYOLOGY_DICOMWEB_PASSWORD", ""))
    elif not token and NETRC.expanduser().is_file():
        auth = httpx.NetRCAuth(str(NETRC.expanduser()))
    # A packed answer could become any size.
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}
    with httpx.Client(auth=auth, headers=headers, timeout=patience.silence_s, follow_redirects=True) as client:
        yield Service(client, config.url.rstrip("/"), patience)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
