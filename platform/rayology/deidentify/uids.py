"""New UIDs for old ones: the same everywhere under one key, and unpredictable without it."""

import hashlib
import hmac
import uuid

from pydicom.uid import UID_dictionary

__all__ = ["mapped_uid"]


def mapped_uid(uid: str, key: bytes) -> str:
    """Return the new UID for an old one, under the root of UUIDs (DICOM PS3.5 B.2); the standard's own stay."""
    uid = uid.strip(" \0")
    if not uid or uid in UID_dictionary:
        return uid
    digest = hmac.new(key, b"uid\0" + uid.encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
