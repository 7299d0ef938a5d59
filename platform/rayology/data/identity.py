"""Identities of patients, studies and series, and the pseudonyms that replace them."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from rayology.atomic import write_atomic

__all__ = ["Identity", "Pseudonyms", "kept_key", "pseudonyms"]

KEY_BYTES = 32
OWN_UID = re.compile(r"(?!1\.2\.840\.10008\.)(?=.*[1-9])[0-2](\.[0-9]+)+")
"""UID (DICOM PS3.5 9.1) of one patient's own: not zeros alone, and not the standard's, as atlases have (PS3.6 A)."""


@dataclass(frozen=True, repr=False)
class Identity:
    """What a file says about its patient, study and series; its repr shows nothing of it."""

    patient: str = ""
    issuer: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    frame_of_reference: str = ""
    picture: str = ""
    """Name that tells an image or a volume from others if its patient is unknown."""

    def __repr__(self) -> str:
        return "Identity(hidden)"


@dataclass(frozen=True)
class Pseudonyms:
    """Names that replace an identity outside the process that read it."""

    patient: str
    study: str
    """Name whose patients are one, as those of the frame of reference are (DICOM PS3.3 A.1.2)."""
    series: str
    instance: str
    """Name that copies of an image share; empty if the file names no instance."""
    frame_of_reference: str
    """Name shared by images whose positions are comparable (DICOM PS3.3 C.7.4.1); without one, a series has its own."""
    draw: str
    """Patient's lot when splits are drawn, by the seed but not by the key; patients found to be one share it."""
    has_patient: bool = True
    """Whether the source names the patient; if not, each picture counts as a patient."""


def pseudonyms(identity: Identity, key: bytes, *, seed: int) -> Pseudonyms:
    """Return HMAC-SHA256 pseudonyms (RFC 2104); the patient is an ID and its issuer, else the picture or the study."""
    patient = _owner(identity)
    study = ("study", *(() if _is_own(identity.study) else patient), identity.study)
    series = ("series", *study, identity.series)
    frame = identity.frame_of_reference
    named = ("frame of reference", *(() if _is_own(frame) else patient), frame)
    return Pseudonyms(
        patient=_keyed(key, *patient),
        study=_keyed(key, *study),
        series=_keyed(key, *series),
        instance=_keyed(key, "instance", identity.instance) if identity.instance else "",
        frame_of_reference=_keyed(key, *(named if frame else ("frame of reference", *series))),
        draw=hashlib.sha256(_joined(str(seed), *patient)).hexdigest(),
        has_patient=patient[0] == "patient",
    )


def kept_key(file: Path) -> bytes:
    """Return the key in a file that only its owner may read, and draw it at the first call."""
    if not file.exists():
        write_atomic(file, secrets.token_bytes(KEY_BYTES))
    return file.read_bytes()


def _owner(identity: Identity) -> tuple[str, ...]:
    if identity.patient:
        return ("patient", identity.issuer, identity.patient)
    if identity.picture:
        return ("picture", identity.picture)
    # Without any UID of its own an image may be anybody's, and all such images count as one patient's.
    uids = (identity.study, identity.series, identity.frame_of_reference)
    return ("study", next(filter(_is_own, uids), identity.study))


def _is_own(uid: str) -> bool:
    return bool(OWN_UID.fullmatch(uid))


def _keyed(key: bytes, *parts: str) -> str:
    return hmac.new(key, _joined(*parts), hashlib.sha256).hexdigest()


def _joined(*parts: str) -> bytes:
    return "\0".join(parts).encode(errors="surrogateescape")  # a file's name may be any bytes
