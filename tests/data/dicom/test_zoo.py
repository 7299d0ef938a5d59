"""A zoo of 300 real files, and what its index says of each."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.data.dicom.stored_values import stored

from rayology.data.dicom import read
from rayology.errors import DataError, NotDicom

pytestmark = pytest.mark.slow

TWELVE_BITS = {"JPEG-lossy.dcm", "WG04__JPLY__MR1_JPLY", "WG04__JPLY__MR2_JPLY", "WG04__JPLY__RG3_JPLY"}
"""JPEG Extended of 12 bits, which the index's decoder cannot read."""
DISCRETE_COSINE = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""Lossy JPEG, of which ISO/IEC 10918 fixes no bits: decoders differ by rounding."""


@pytest.fixture(scope="module")
def zoo(shared_data: Path) -> Path:
    return shared_data / "dicom_zoo"


def rows(zoo: Path) -> Iterator[Mapping[str, str]]:
    with (zoo / "zoo_index.csv").open(encoding="utf-8") as opened:
        yield from csv.DictReader(opened)


def outcome(file: Path) -> str:
    try:
        read(file, require_preamble=False)
    except DataError as error:
        return type(error).__name__
    return "ok"


def test_every_file_opens_or_has_the_error_that_fits(zoo: Path) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for row in rows(zoo):
        twelve_bits = row["decode"] == "error" and Path(row["path"]).name in TWELVE_BITS
        found["ok" if twelve_bits else row["decode"], outcome(zoo / row["path"])] += 1

    assert {decode: named for (decode, named) in found if decode == "ok"} == {"ok": "ok"}
    assert found["ok", "ok"] == 204 + len(TWELVE_BITS)
    assert {named for decode, named in found if decode == "not-dicom"} <= {"NotDicom", "NotAnImage"}
    assert {named for decode, named in found if decode == "dicom-without-pixels"} <= {"NotAnImage", "NotDicom"}
    assert {named for decode, named in found if decode == "unsupported-syntax"} == {"UnsupportedSyntax"}
    assert {named for decode, named in found if decode == "error"} <= {"UnreadableImage", "NotAnImage", "NotDicom"}


def test_without_its_preamble_a_file_is_refused_by_default(zoo: Path) -> None:
    without = [zoo / row["path"] for row in rows(zoo) if row["decode"] == "ok" and row["part10_preamble"] == "0"]

    assert len(without) == 4
    for file in without:
        with pytest.raises(NotDicom):
            read(file)


def test_stored_values_are_those_of_the_index_bit_for_bit(zoo: Path) -> None:
    compared, by_rounding = 0, []
    for row in rows(zoo):
        if row["decode"] != "ok":
            continue
        shape = tuple(int(length) for length in row["shape"].split("x"))
        values = stored(zoo / row["path"]).reshape(shape).astype(row["dtype"])
        found = hashlib.sha256(np.ascontiguousarray(values).tobytes() + str(shape).encode()).hexdigest()
        if found == row["array_sha256"]:
            compared += 1
        else:
            by_rounding.append(row)

    assert {row["ts_uid"] for row in by_rounding} == set(DISCRETE_COSINE)
    assert compared == 192
    for row in by_rounding:
        values = stored(zoo / row["path"])
        assert abs(float(values.min()) - float(row["raw_min"])) <= 1
        assert abs(float(values.max()) - float(row["raw_max"])) <= 1
