"""Nothing of what identifies is left in any byte, wherever in the tree it stood."""

import datetime as dt
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_sequence
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from rayology.deidentify import ProfileConfig, deidentify, encoded
from rayology.deidentify.files import content
from rayology.deidentify.profile import TABLE

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value")  # some canaries are no values of their VR

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
NESTING = ("ReferencedSeriesSequence", "ReferencedInstanceSequence", "PurposeOfReferenceCodeSequence")
HOLLOW_NESTING = ("ContentSequence", "ConceptNameCodeSequence", "EquivalentCodeSequence")


@dataclass
class Canaries:
    """Elements with planted values, and the bytes to look for."""

    values: dict[str, bytes] = field(default_factory=dict)
    """What is looked for, by what it was planted in."""

    def planted(self, tag: int, vr: str, place: str) -> DataElement:
        """Return an element whose value occurs nowhere else."""
        number = len(self.values)
        day = dt.date(1930, 1, 1) + dt.timedelta(number)
        time = f"{number % 24:02d}{number // 24 % 60:02d}17.{number:06d}"
        texts = {
            "AS": f"{number % 900 + 100}Q",
            "CS": f"CANARY {number:05d}",
            "DA": f"{day:%Y%m%d}",
            "DS": f"76543{number:05d}",
            "DT": f"{day:%Y%m%d}{time}",
            "IS": f"76543{number:05d}",
            "PN": f"Canary{number:05d}^Jane",
            "TM": time,
            "UI": f"1.2.3.98765.1{number:05d}",
        }
        name = f"{place} {tag:08X} {keyword_for_tag(tag)}"
        if vr == "SQ":
            item = Dataset()
            item.add(self.planted(0x00104000, "LT", name))
            return DataElement(tag, vr, Sequence([item]))
        if vr == "US":
            byte = 0xC0 + number % 32
            self.values[name] = bytes([byte] * 4)
            return DataElement(tag, vr, [byte * 0x101] * 2)
        text = texts.get(vr, f"canary{number:05d}")
        self.values[name] = text.encode()
        return DataElement(tag, vr, text.encode() if vr in {"OB", "OW", "UN"} else text)

    def plant(self, dataset: Dataset, tags: dict[int, str], place: str) -> Dataset:
        """Add an element for each tag to a data set."""
        for tag, vr in tags.items():
            dataset.add(self.planted(tag, vr, place))
        return dataset

    def found(self, written: bytes) -> list[str]:
        """Return where those canaries were planted that stand in the bytes."""
        return [name for name, value in self.values.items() if value in written]


def table_tags() -> dict[int, str]:
    """Return every tag of the table with its VR, curves and overlays in each of their planes."""
    tags: dict[int, str] = {}
    for line in TABLE.read_text().splitlines():
        pattern = line.split("\t")[0]
        if pattern.startswith("G"):
            continue
        for plane in range(0, 32, 2) if "X" in pattern else (0,):
            tag = int(pattern.replace("XX", f"{plane:02X}", 1).replace("XXXX", "3000"), 16)
            vr = dictionary_VR(tag)
            tags[tag] = "OB" if " or " in vr else vr
    return tags


def unlisted_tags() -> dict[int, str]:
    """Return every other attribute that may hold free text, names, dates, addresses or bytes."""
    listed = table_tags()
    free = {"AE", "AS", "DA", "DT", "TM", "LO", "LT", "OB", "OB or OW", "OW", "PN", "SH", "ST", "UC", "UI", "UR", "UT"}
    return {
        tag: "OB" if vr == "OB or OW" else vr
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if vr in free and tag not in listed and tag >> 16 > 4 and keyword
    }


def nested(innermost: Dataset, sequences: tuple[str, ...]) -> Dataset:
    """Return a data set that holds another one as many sequences deep."""
    for keyword in reversed(sequences):
        outer = Dataset()
        setattr(outer, keyword, Sequence([innermost]))
        innermost = outer
    return innermost


def empty_file(syntax: str) -> Dataset:
    """Return what a file needs at least."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2.3.4.5"
    dataset.PatientID = "Nobody's own"
    return dataset


def as_file(dataset: Dataset) -> bytes:
    """Write a file as it is, whatever stands in it."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def left(original: Dataset, canaries: Canaries, config: ProfileConfig | None = None) -> list[str]:
    """Write a file, read it again, de-identify it, and return which canaries its bytes hold."""
    written = as_file(original)
    assert len(canaries.found(plain(written))) == len(canaries.values)  # all were there
    profile = (config or ProfileConfig()).build()
    return canaries.found(plain(encoded(deidentify(content(written).dataset, profile, b"key").dataset)))


def plain(written: bytes) -> bytes:
    """Return all bytes of a file, inflated."""
    return content(written).plain


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_canary_of_the_table_is_left_at_the_root(canaries: Canaries, syntax: str) -> None:
    original = canaries.plant(empty_file(syntax), root_tags(), "root")

    assert len(canaries.values) > 650
    assert left(original, canaries) == []


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("sequences", [NESTING, HOLLOW_NESTING])
def test_no_canary_of_the_table_is_left_three_sequences_deep(
    canaries: Canaries, syntax: str, sequences: tuple[str, ...]
) -> None:
    original = empty_file(syntax)
    original.update(nested(canaries.plant(Dataset(), table_tags(), "nested"), sequences))

    assert len(canaries.values) > 650
    assert left(original, canaries) == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_canary_is_left_in_private_sequences_or_unknown_values(canaries: Canaries, syntax: str) -> None:
    original = empty_file(syntax)
    block = original.private_block(0x0009, "ANYONE'S OWN", create=True)
    block.add_new(0x01, "SQ", Sequence([nested(canaries.plant(Dataset(), table_tags(), "private"), NESTING)]))
    block.add_new(0x02, "UN", as_items(canaries.plant(Dataset(), table_tags(), "unknown")))
    within = nested(canaries.plant(Dataset(), {0x00091001: "UN", 0x00091002: "LO"}, "private within"), NESTING)
    original.update(within)
    original.add_new(0x00080999, "UN", b"canary of an attribute that the standard does not know")
    canaries.values["no attribute"] = b"canary of an attribute"

    assert left(original, canaries) == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_free_text_is_left_in_attributes_that_the_table_does_not_list(canaries: Canaries, syntax: str) -> None:
    kept = set(TABLE.with_name("kept.txt").read_text().split())
    tags = {tag: vr for tag, vr in unlisted_tags().items() if keyword_for_tag(tag) not in kept}
    original = canaries.plant(empty_file(syntax), tags, "unlisted")
    original.update(nested(canaries.plant(Dataset(), tags, "nested unlisted"), NESTING))

    assert len(canaries.values) >= 800
    assert left(original, canaries) == []


def test_with_every_option_only_what_an_option_keeps_is_left(canaries: Canaries) -> None:
    original = canaries.plant(empty_file(ExplicitVRLittleEndian), root_tags(), "root")
    config = ProfileConfig(
        dates="shifted",
        descriptors="cleaned",
        retain_device=True,
        retain_institution=True,
        retain_patient=True,
    )

    found = left(original, canaries, config)

    options = {line.split("\t")[0]: line.split("\t")[2] for line in TABLE.read_text().splitlines()}
    for name in found:
        listed = options[name.split()[1]]
        time_of_day = "shifted_dates" in listed and dictionary_VR(int(name.split()[1], 16)) == "TM"
        assert time_of_day or {"device=K", "institution=K", "patient=K"} & set(listed.split()), name
    assert len(found) > 80


@pytest.mark.parametrize("vr", ["LO", "UT", "PN", "OB"])
def test_text_does_not_travel_as_a_number_or_a_code(canaries: Canaries, vr: str) -> None:
    tags = {0x00280010: vr, 0x00180060: vr, 0x00080060: vr, 0x0008114A: vr}  # US, DS, CS and SQ in the dictionary

    assert left(canaries.plant(empty_file(ExplicitVRLittleEndian), tags, vr), canaries) == []


def test_nothing_is_left_around_the_data_set(canaries: Canaries) -> None:
    original = empty_file(ExplicitVRLittleEndian)
    original.preamble = b"canary of the preamble".ljust(128)
    original.file_meta.SourceApplicationEntityTitle = "CANARY OF A NODE"
    original.file_meta.PrivateInformationCreatorUID = "1.2.3.98765"
    original.file_meta.PrivateInformation = b"canary of the meta"
    original.Rows, original.Columns, original.SamplesPerPixel, original.BitsAllocated = 2, 2, 1, 8
    original.PhotometricInterpretation, original.PixelData = "MONOCHROME2", b"1234canary after the pixels!"
    original.add_new(0xFFFCFFFC, "OB", b"canary in the padding")
    canaries.values |= {"lower case": b"canary", "upper case": b"CANARY", "uid": b"1.2.3.98765"}

    assert left(original, canaries) == []


def root_tags() -> dict[int, str]:
    """Return the tags of the table that a file may hold at its root."""
    return {tag: vr for tag, vr in table_tags().items() if tag >> 16 not in {0x0000, 0x0002}}


def as_items(item: Dataset) -> bytes:
    """Encode a sequence of one item as an implicit UN holds it (DICOM PS3.5 6.2.2)."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_sequence(buffer, DataElement(0x00091002, "SQ", Sequence([item])), ["iso8859"])
    return buffer.getvalue()
