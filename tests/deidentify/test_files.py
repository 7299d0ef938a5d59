"""Bad files fail alone, with a reason that names nobody."""

import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from rayology.data.dicom import header
from rayology.data.unreadable import as_unreadable
from rayology.deidentify import ProfileConfig, Rule, deidentify, encoded, files
from rayology.deidentify.files import content
from rayology.deidentify.residue import identifiers
from rayology.deidentify.treatment import treat
from rayology.errors import NotDicom, UnreadableImage

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)
PROFILE = ProfileConfig().build()
PASSING = ProfileConfig(rules=(Rule(reason="any", when={}, action="pass"),)).build()


def test_a_letter_is_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Dr. Who")

    with pytest.raises(NotDicom):
        content(tmp_path / "letter.txt")


def test_dicom_without_a_preamble_is_not_mistaken_for_another_kind_of_file(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    (tmp_path / "bare.dcm").write_bytes(write_dicom(tmp_path / "a.dcm", RAMP).read_bytes()[132:])

    with pytest.raises(UnreadableImage, match="has no DICOM preamble; rewrite it"):
        content(tmp_path / "bare.dcm")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"^cannot be opened: No such file"):
        content(tmp_path / "Doe_Jane.dcm")


def test_a_header_without_a_syntax_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="names no transfer syntax"):
        content(Path(str(get_testdata_file("meta_missing_tsyntax.dcm", download=False))))


def test_an_object_without_an_instance_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    del dataset.SOPInstanceUID
    dataset.save_as(tmp_path / "b.dcm")

    assert "names no SOP instance" in treat(tmp_path / "b.dcm", PROFILE, b"key").outcome.reason


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_is_opened_and_inflated_no_further_than_allowed(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    file = write_dicom(tmp_path / "a.dcm", np.zeros((128, 128), np.uint16), TransferSyntaxUID=syntax)
    assert content(file)

    # Gigabytes would take seconds to write.
    monkeypatch.setattr(files, "MAX_BYTES", 10_000)
    monkeypatch.setattr(header, "MAX_BYTES", 10_000)

    with pytest.raises(UnreadableImage, match="more than 10000 bytes"):
        content(file)


def test_a_deflated_file_is_inflated_once_and_lies_plain_around_its_pixels(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    inflations: list[int] = []
    decompressobj = zlib.decompressobj

    def noted(wbits: int = zlib.MAX_WBITS) -> object:
        inflations.append(wbits)
        return decompressobj(wbits)

    def refused(*_: object) -> bytes:
        raise AssertionError

    # How often a file is inflated shows nowhere else.
    monkeypatch.setattr(zlib, "decompressobj", noted)
    monkeypatch.setattr(zlib, "decompress", refused)

    found = content(file)

    assert inflations == [-zlib.MAX_WBITS]
    assert found.plain[found.pixels_at :].startswith(RAMP.tobytes())
    assert found.dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian


def test_sequences_without_end_are_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    whole = write_dicom(tmp_path / "a.dcm", RAMP).read_bytes()
    begin = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    (tmp_path / "b.dcm").write_bytes(whole + begin * 60_000)

    assert not treat(tmp_path / "b.dcm", PROFILE, b"key").outcome.is_readable


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "test-SR.dcm", "image_dfl.dcm"])
def test_a_damaged_file_is_treated_or_gives_its_reason(tmp_path: Path, name: str) -> None:
    whole, random = get_data(name).read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(128, min(len(whole), 6000), random.integers(1, 40)):
            damaged[place] = random.integers(256)
        (tmp_path / "damaged.dcm").write_bytes(damaged)
        treated = treat(tmp_path / "damaged.dcm", PASSING, b"key")
        assert bool(treated.written) != bool(treated.outcome.reason)
        outcomes.add(treated.outcome.is_readable)

    assert False in outcomes


def test_an_interrupt_is_no_fault_of_a_file() -> None:
    with pytest.raises(KeyboardInterrupt), as_unreadable("it cannot be read"):
        raise KeyboardInterrupt


def test_neither_warnings_nor_logs_quote_values(
    tmp_path: Path, write_dicom: WriteDicom, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, Modality="CT")
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"JANE DOE 1.2.3.4.5.6.7.8.\0"))

    with caplog.at_level(logging.DEBUG):
        treated = treat(file, PROFILE, b"key")
        deidentify(dcmread(get_data("CT_small.dcm")), PROFILE, b"key")

    assert not caplog.records
    assert "JANE" not in treated.outcome.reason


def test_a_value_that_cannot_be_read_goes(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    dataset[0x00189345] = RawDataElement(Tag(0x00189345), "FD", 5, b"JANE ", 0, False, True)  # noqa: FBT003

    result = deidentify(dataset, PROFILE, b"key")

    assert 0x00189345 not in result.dataset
    assert result.done["removed"]["CTDIvol"] == 1
    assert "anyone" in identifiers(dataset, PROFILE).whole


def test_a_number_that_is_none_goes() -> None:
    dataset = dcmread(get_data("badVR.dcm"))  # its number of frames is 1A

    copy = deidentify(dataset, PROFILE, b"key").dataset

    assert "NumberOfFrames" in dataset
    assert "NumberOfFrames" not in copy
    assert encoded(copy)


def test_a_file_in_a_syntax_that_nobody_writes_is_unreadable(shared_data: Path) -> None:
    treated = treat(shared_data / "dicom_zoo" / "pydicom-data" / "liver_deflate.dcm", PASSING, b"key")

    assert not treated.outcome.is_readable
    assert treated.values  # which are still searched for in others


def test_an_object_without_pixels_is_treated_too() -> None:
    treated = treat(get_data("rtplan.dcm"), PROFILE, b"key")

    assert treated.written
    assert b"unit001" not in treated.written


def test_pixels_without_a_shape_stay_as_they_are(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = content(write_dicom(tmp_path / "a.dcm", RAMP, Rows=None)).dataset

    assert deidentify(dataset, PROFILE, b"key").dataset.PixelData == RAMP.tobytes()


def get_data(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))
