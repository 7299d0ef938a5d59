"""The last look at what was written finds what should not be there, and little else."""

import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from rayology.deidentify import ProfileConfig, residue
from rayology.deidentify.files import Content, content
from rayology.deidentify.residue import CHUNK, LONG, Search, identifiers
from rayology.deidentify.treatment import RESIDUE, treat

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def finds(value: str, texts: bytes = b"", pixels: bytes = b"") -> bool:
    return bool(Search([value]).found(Content(Dataset(), texts + pixels, len(texts))))


@pytest.mark.parametrize("before", [0, 1, CHUNK - 5, CHUNK - 1, CHUNK, 3 * CHUNK])
def test_a_value_is_found_wherever_it_stands_and_in_any_case(before: int) -> None:
    assert finds("Doe^Jane", b"." * before + b"DOE^jane..")
    assert finds("Doe^Jane", pixels=b"." * before + b"DOE^jane..")


@pytest.mark.parametrize(
    ("value", "texts", "found"),
    [
        ("Smith", b"by smith, today", True),
        ("Smith", b"blacksmiths", False),
        ("Smith", b"AB\x05\0smith\x30\0\x10\0", True),  # the tag of the next element begins with a digit
        ("471100", b"no. 471100", True),
        ("471100", b"0.8471100", False),
        ("20200101", b"DT\x0e\x0020200101120000", True),
        ("20200101", b"2.25.9920200101", False),
        ("1.2.3.4.5.6", b"x1.2.3.4.5.6", True),
        ("Müller", "DR. MüLLER".encode("latin-1"), True),
        ("Müller", "Dr. Müller".encode(), True),
        ("山田太郎", "山田太郎".encode("iso2022_jp"), True),
        ("山田太郎", "山田太郎".encode("utf-16-le"), True),
        ("MÜLLER", "Dr. Müller".encode("latin-1"), True),
        ("Müller", "Dr. MÜLLER".encode("iso8859_2"), True),
        ("Smith", "by Smith".encode("utf-16-le"), True),
        ("471100", "471100".encode("utf-16-be"), True),
        ("1.2.3.4.5", b"1.2.3.4.56", True),
    ],
)
def test_short_words_and_numbers_are_found_alone(value: str, texts: bytes, *, found: bool) -> None:
    assert finds(value, texts) is found


def naively_found(values: list[str], searched: Content) -> Counter[str]:
    """Look for each value, in each encoding, from one place to the next."""
    found, plain = Counter[str](), searched.plain.lower()
    owners = {coded.lower(): value for value in values for coded in residue._coded(value)}
    for coded, value in owners.items():
        begin = plain.find(coded)
        while begin >= 0:
            is_telling = len(coded) - coded.count(0) >= LONG or begin < searched.pixels_at
            found[value] += is_telling and residue._is_apart(plain, begin, begin + len(coded))
            begin = plain.find(coded, begin + 1)
    return +found


@pytest.mark.parametrize("seed", range(8))
def test_the_quick_search_finds_what_a_naive_search_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    stems = ["1.2.840.", "2.25.", "MRN", "0047", "Smith", "Smithson", "Müller", "山田", "Doe^Jane", "2020", ""]
    values = [
        str(random.choice(stems)) + "".join(random.choice(list("0123.aÜ"), random.integers(4, 12))) for _ in range(40)
    ]
    values += [value[: random.integers(4, 9)] for value in values]  # some are the beginnings of others
    pieces = []
    for _ in range(150):
        text, encoding = (
            random.choice(values),
            random.choice(["utf-8", "latin-1", "shift_jis", "utf-16-le", "iso2022_jp"]),
        )
        pieces.append(str(random.choice([text, text.upper(), text[1:]])).encode(str(encoding), errors="ignore"))
        pieces.append(random.choice([b"", b" ", b"\0", b"7", b".", b"\\", random.bytes(5)]))
    plain = b"".join(pieces)
    searched = Content(Dataset(), plain, int(random.integers(0, len(plain))))

    found = Search(values).found(searched)

    assert found == naively_found(values, searched)
    assert len(found) > 5


def test_the_time_of_a_search_does_not_grow_with_the_number_of_values() -> None:
    def seconds(count: int) -> float:
        search = Search(f"1.2.840.113619.2.{number}.{number * 7919}.0.0.0" for number in range(count))
        searched = Content(Dataset(), b"".join(b" 1.2.840.113619.2.x%d" % number for number in range(500)), 2**20)
        begun_at = time.process_time()
        search.found(searched)
        return time.process_time() - begun_at

    assert seconds(20_000) < 20 * max(seconds(200), 0.01)


def test_among_pixels_only_long_values_are_no_chance() -> None:
    assert not finds("Smith", pixels=b" smith ")
    assert finds("Smithson", pixels=b" smithson ")


def test_what_identifies_is_collected_from_the_whole_tree(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane", AccessionNumber="A-4711"))
    item = Dataset()
    item.PatientBirthName, item.StudyDate, item.StationName, item.SeriesDescription = "Roe", "20200101", "CT12", "Head"
    dataset.ReferencedSeriesSequence = [item]

    found = identifiers(dataset, ProfileConfig().build())

    assert {"Doe^Jane", "A-4711", dataset.SOPInstanceUID} <= found.whole.keys()
    assert {"Jane", "20200101"} <= found.parts.keys()
    assert not {"Doe", "Roe", "CT12", "Head", "1.2.840.10008.5.1.4.1.1.2"} & (found.whole.keys() | found.parts.keys())
    assert "Jane" not in repr(found)


def test_what_an_option_keeps_is_not_searched_for(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dates = {"StudyDate": "20200101", "DateOfLastCalibration": "20200101"}
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, **dates))

    assert "20200101" in identifiers(dataset, ProfileConfig().build()).parts
    assert "20200101" not in identifiers(dataset, ProfileConfig(retain_device=True).build()).parts


def test_a_file_whose_name_would_stay_in_a_kept_attribute_is_held_back(tmp_path: Path, write_dicom: WriteDicom) -> None:
    profile = ProfileConfig().build()
    leaking = write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane", BodyPartExamined="JANE LEG")
    other = write_dicom(tmp_path / "b.dcm", RAMP, PatientName="Doe^John", BodyPartExamined="JANE LEG")

    assert treat(leaking, profile, b"key").outcome.reason == RESIDUE
    assert treat(other, profile, b"key").outcome.reason == ""


@pytest.mark.parametrize(
    ("value", "attributes", "is_held"),
    [
        ("Chest", {"BodyPartExamined": "CHEST"}, False),
        ("CHEST", {"BodyPartExamined": "CHEST", "SoftwareVersions": "of Chest"}, True),
        ("CHEST", {"BodyPartExamined": "CHEST", "SoftwareVersions": "Chest"}, False),
        ("Jane", {"BodyPartExamined": "JANE"}, True),
        ("Jane", {"BodyPartExamined": "CHEST JANE"}, True),
        ("488281", {"PixelSpacing": [0.488281, 0.488281]}, False),
        ("488281", {"SoftwareVersions": "488281"}, True),
        ("1.2.840.10008", {}, False),
        ("DICOM", {}, False),
        ("PYDICOM", {}, False),
        ("REMOVED", {"BodyPartExamined": "REMOVED"}, False),
        ("head", {"SeriesDescription": "Head 5mm by her"}, False),
        ("B4711", {"SeriesDescription": "Head b4711"}, True),
        ("jagged", {"SeriesDescription": "Jagged"}, False),
    ],
)
def test_what_any_copy_may_say_identifies_nobody_and_anything_else_does(
    tmp_path: Path, write_dicom: WriteDicom, value: str, attributes: dict[str, object], *, is_held: bool
) -> None:
    profile = ProfileConfig(descriptors="cleaned", words=("jagged",)).build()
    file = write_dicom(tmp_path / "a.dcm", RAMP, OperatorsName=value, **attributes)

    outcome = treat(file, profile, b"key").outcome

    assert (outcome.reason, outcome.found) == ((RESIDUE, ("OperatorsName",)) if is_held else ("", ()))


def test_pixels_are_told_from_texts_also_in_a_deflated_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = RAMP.tobytes()
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"):
        held = content(write_dicom(tmp_path / "a.dcm", RAMP, PatientID="someone", TransferSyntaxUID=syntax))

        assert held.plain[held.pixels_at :] == pixels
        assert b"someone" in held.plain


def test_a_search_takes_little_memory_next_to_the_file() -> None:
    search, searched = Search(["Doe^Jane"]), Content(Dataset(), b"X" * (40 * CHUNK), 0)
    tracemalloc.start()

    search.found(searched)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * CHUNK
