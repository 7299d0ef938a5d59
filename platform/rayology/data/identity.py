"""Identities of patients, studies and series, and the pseudonyms that replace them."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from rayology.atomic import write_atomic

__all__ = ["Identity", "Pseudonyms", "kept_key", "pseudonyms"]

KEY_BYTES = 32


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
    series: str
    instance: str
    """Name that copies of an image share; empty if the file names no instance."""
    frame_of_reference: str
    """Name shared by images whose positions are comparable (DICOM PS3.3 C.7.4.1); without one, a series has its own."""
    draw: str
    """Patient's lot when splits are drawn, which depends on the seed but not on the key."""
    has_patient: bool = True
    """Whether the source names the patient; if not, each picture counts as a patient."""


def pseudonyms(identity: Identity, key: bytes, *, seed: int) -> Pseudonyms:
    """Return HMAC-SHA256 pseudonyms (RFC 2104); the patient is an ID and its issuer, else the picture or the study."""
    patient = _owner(identity)
    study = ("study", *patient, identity.study)
    series = ("series", *study, identity.series)
    named = ("frame of reference", *patient, identity.frame_of_reference)
    return Pseudonyms(
        patient=_keyed(key, *patient),
        study=_keyed(key, *study),
        series=_keyed(key, *series),
        instance=_keyed(key, "instance", identity.instance) if identity.instance else "",
        frame_of_reference=_keyed(key, *(named if identity.frame_of_reference else ("frame of reference", *series))),
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
    return ("study", identity.study)


def _keyed(key: bytes, *parts: str) -> str:
    return hmac.new(key, _joined(*parts), hashlib.sha256).hexdigest()


def _joined(*parts: str) -> bytes:
    return "\0".join(parts).encode()
