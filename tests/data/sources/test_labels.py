"""What tables, names and headers say of an image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from tests.data.sources.examples import example_of

from rayology.data import FolderConfig, ImageFolderConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources import table as table_module
from rayology.data.sources.folder import FolderSource
from rayology.data.sources.labels import Naming
from rayology.data.sources.source import Item
from rayology.data.sources.table import Membership
from rayology.errors import NotDicom, SourceError, SourceLost, UnreadableImage


def table(folder: Path, text: str) -> Path:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return folder / "table.csv"


def test_a_table_says_class_patient_and_split(tmp_path: Path) -> None:
    file = table(tmp_path, "file,patient,label,split\na/1.png,p,benign,test\n")

    naming = Naming("table", table=file)

    assert naming.of("a/1.png") == Membership(label="benign", patient="p", split="test")
    assert naming.of("a/2.png") == Membership()


def test_a_table_may_know_patients_while_folders_are_the_classes(tmp_path: Path) -> None:
    naming = Naming("folder", table=table(tmp_path, "file,patient,label\na/1.png,p,other\n"))

    assert naming.of("a/1.png") == Membership(label="a", patient="p")


def test_a_spreadsheet_s_mark_at_the_start_is_no_part_of_the_heading(tmp_path: Path) -> None:
    assert Naming("table", table=table(tmp_path, "\ufefffile,label\na,x\n")).of("a").label == "x"


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    naming = Naming("table", table=table(tmp_path, "file,label\na,x\n"))
    assert naming.of("a").label == "x"

    table(tmp_path, "file,label\na,y\n").touch()

    assert naming.of("a").label == "y"


def test_empty_lines_and_rows_that_agree_are_no_fault(tmp_path: Path) -> None:
    naming = Naming("table", table=table(tmp_path, "file,label\n\na,x\nb,y\na,x\n\n"))

    assert [naming.of(name).label for name in "abc"] == ["x", "y", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first column is headed neither file nor uid; write a CSV file in UTF-8"),
        ("Doe,label\na,x\n", "its first column is headed neither file nor uid; write a CSV file in UTF-8"),
        ("file,label,Doe\na,x,y\n", "column 3 is headed by none of label, patient, split, or by a repeated one"),
        ("file,label,label\na,x,y\n", "column 3 is headed by none of label, patient, split, or by a repeated one"),
        ("file,split\na,train\n", "has no column headed label; add one, or write source.labels: none"),
        ("file,label,split\na,x,train\nb,x,Doe\n", "line 3 has a split other than train, validation and test"),
        ("file,label\na,x\nDoe\n", "line 3 names no image, or has 1 columns instead of 2"),
        ("file,label\n,Doe\n", "line 2 names no image"),
        ("file,label\nDoe,x\nb,y\nDoe,y\n", "line 4 contradicts an earlier line of the same file"),
        ('file,label\n"a"Doe,x\n', r"cannot be read \(Error\)"),
    ],
)
def test_a_wrong_table_says_where_and_what_to_write_but_no_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        Naming("table", table=table(tmp_path, text))

    assert "Doe" not in str(raised.value)


def test_a_table_that_names_no_picture_is_refused_before_any_is_read(tmp_path: Path) -> None:
    config = example_of(ImageFolderConfig, tmp_path)
    wrong = config.patched({"labels": "table", "table": str(table(tmp_path, "file,label\npictures/a/0.png,x\n"))})

    with pytest.raises(SourceError, match=r"gives any of 8 files a label; write their names as below source"):
        wrong.build(tmp_path).items()


@pytest.mark.parametrize("kind", ["image_folder", "folder"])
@pytest.mark.parametrize(
    ("labels", "text", "gives"),
    [
        ("table", "file,label\npictures/a/0.png,x\n", "a label"),
        ("table", "file,label\na/0.png,\n", "a label"),
        ("none", "file,patient\npictures/a/0.png,x\n", "anything"),
    ],
)
def test_a_table_by_file_that_says_nothing_of_any_file_is_refused_before_any_is_read(
    tmp_path: Path, kind: str, labels: str, text: str, gives: str
) -> None:
    pictures = example_of(ImageFolderConfig, tmp_path)
    config = pictures if kind == "image_folder" else FolderConfig(path=pictures.path)

    with pytest.raises(SourceError, match=f"gives any of 8 files {gives}; write their names as below"):
        config.patched({"labels": labels, "table": str(table(tmp_path, text))}).build(tmp_path).items()


def test_a_table_by_uid_may_name_any_file_of_dicom(tmp_path: Path) -> None:
    config = FolderConfig(path=example_of(ImageFolderConfig, tmp_path).path)

    by_uid = config.patched({"labels": "table", "table": str(table(tmp_path, "uid,label\n2.25.1,x\n"))})

    assert len(by_uid.build(tmp_path).items()) == 8


def write_people(folder: Path, write_dicom: Callable[..., Path], count: int = 6) -> FolderConfig:
    """Write an image of noise of each of so many patients, whose studies are 2.25.1 and up."""
    generator = np.random.default_rng(0)
    for number in range(count):
        image = generator.integers(0, 1000, (16, 16)).astype(np.int16)
        uids = {"StudyInstanceUID": f"2.25.{number + 1}", "SeriesInstanceUID": f"2.25.{number + 101}"}
        write_dicom(folder / "images" / f"{number}.dcm", image, PatientID=f"p{number}", **uids)
    return FolderConfig(path=str(folder / "images"))


@pytest.mark.parametrize("labels", ["none", "table"])
def test_a_table_by_uid_that_says_nothing_of_any_image_is_refused(
    tmp_path: Path, write_dicom: Callable[..., Path], labels: str
) -> None:
    """As one that was written before the images were de-identified: their patients would be split at random."""
    rows = "".join(f"2.25.9{number},x,someone,{'train' if number else 'test'}\n" for number in range(6))
    known = {"labels": labels, "table": str(table(tmp_path, f"uid,label,patient,split\n{rows}"))}
    source = write_people(tmp_path, write_dicom).patched(known)

    with pytest.raises(SourceError, match=r"no row of the table .* as the files have them now"):
        prepare(source, PreparationConfig(size=16), tmp_path / "root")


def test_images_in_no_row_of_a_table_are_kept_and_counted(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    file = table(tmp_path, "uid,patient\n2.25.1,someone\n2.25.2,someone\n")
    source = write_people(tmp_path, write_dicom).patched({"table": str(file)})

    info = prepare(source, PreparationConfig(size=16), tmp_path / "root").info

    assert (info.counts.images, info.counts.not_in_table, info.patients) == (6, 4, 5)


def test_a_relative_table_is_the_same_wherever_a_worker_stands(
    tmp_path: Path, write_dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_people(tmp_path, write_dicom, count=1)
    table(tmp_path, "file,label\n0.dcm,benign\n")
    monkeypatch.chdir(tmp_path)
    source = FolderConfig(path="images", labels="table", table=Path("table.csv")).build(tmp_path)
    (item,) = source.items()

    monkeypatch.chdir("/")

    assert [example.label for example in source.read(item)] == ["benign"]


def test_a_table_that_a_worker_cannot_read_is_no_fault_of_the_images(
    tmp_path: Path, write_dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path, "file,patient\n0.dcm,someone\n")
    source = write_people(tmp_path, write_dicom).patched({"table": str(file)})
    listed = FolderSource.items

    def items_and_no_table(self: FolderSource) -> Sequence[Item]:
        found = listed(self)
        file.unlink()
        return found

    # A node that does not see the table takes a second machine; here the table goes once files are listed.
    monkeypatch.setattr(FolderSource, "items", items_and_no_table)

    with pytest.raises(SourceLost, match=r"table\.csv: cannot be read"):
        prepare(source, PreparationConfig(size=16), tmp_path / "root")

    assert list((tmp_path / "root" / "datasets").glob(".*.partial/readings/outcomes.jsonl"))  # to go on from


@pytest.mark.parametrize("key", ["file", "uid"])
def test_two_patient_ids_that_a_table_calls_one_person_share_a_split(
    tmp_path: Path, write_dicom: Callable[..., Path], key: str
) -> None:
    generator = np.random.default_rng(0)
    for number in range(12):
        whose = {"PatientID": f"Jane Doe{number}", "IssuerOfPatientID": f"Clinic{number}", "PatientName": "Doe^Jane"}
        uids = {"StudyInstanceUID": f"2.25.{number + 1}", "SeriesInstanceUID": f"2.25.{number + 101}"}
        image = generator.integers(0, 1000, (16, 16)).astype(np.int16)
        write_dicom(tmp_path / "images" / f"{number}.dcm", image, **whose, **uids)
    # Every person has two numbers, six apart.
    rows = "".join(f"{f'{n}.dcm' if key == 'file' else f'2.25.{n + 1}'},Richard Roe{n % 6}\n" for n in range(12))
    config = FolderConfig(path=str(tmp_path / "images"))
    named = config.patched({"table": str(table(tmp_path, f"{key},patient\n{rows}"))})

    alone, together = (prepare(each, PreparationConfig(size=16), tmp_path / "root") for each in (config, named))

    people = [set(together.split(name).index["patient"].to_pylist()) for name in ("train", "validation", "test")]
    assert (alone.info.patients, together.info.patients) == (12, 6)
    assert sum(map(len, people)) == len(set.union(*people)) == 6
    written = b"".join(file.read_bytes() for file in together.path.iterdir())
    assert b"Jane" not in written
    assert b"Richard" not in written


def test_a_row_without_a_patient_leaves_the_header_s(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    for number in range(2):
        write_dicom(tmp_path / "images" / f"{number}.dcm", np.eye(16, dtype=np.int16), IssuerOfPatientID="Clinic")
    file = table(tmp_path, "file,patient,split\n0.dcm,,train\n1.dcm,someone,train\n")
    source = FolderConfig(path=str(tmp_path / "images"), table=file).build(tmp_path)

    identities = [example.instance.identity for item in source.items() for example in source.read(item)]

    assert [(each.patient, each.issuer) for each in identities] == [("anyone", "Clinic"), ("someone", "")]
    assert {each.series for each in identities} == {"2.25.2"}


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("file,label\na,x\n", encoding="utf-16")

    with pytest.raises(
        SourceError, match=r"cannot be read \(UnicodeDecodeError\); set source.table to a CSV file in UTF-8"
    ):
        Naming("table", table=tmp_path / "table.csv")


def test_a_patient_that_the_name_does_not_say_is_not_known() -> None:
    assert Naming(patient=r"^(?:p(\d+)_)?").of("a.png").patient == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": "table"}, r"set source\.table"),
        ({"patient": "("}, r"source\.patient is not a regular expression"),
        ({"patient": "p"}, r"source\.patient has no group"),
        (
            {"labels": "table", "table": Path("missing.csv")},
            r"missing.csv: cannot be read \(No such file or directory\)",
        ),
    ],
)
def test_a_wrong_setting_says_what_to_set(tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    config = example_of(ImageFolderConfig, tmp_path).model_copy(update=wrong)

    with pytest.raises(SourceError, match=message):
        config.build(tmp_path).items()


def test_the_first_group_of_a_name_is_the_patient() -> None:
    naming = Naming(patient=r"p(\d+)_")

    assert [naming.of(name).patient for name in ("a/p07_1.png", "a/q.png")] == ["07", ""]


@pytest.mark.parametrize(("folder", "split"), [("Train", "train"), ("valid", "validation"), ("TEST", "test")])
def test_a_folder_may_be_a_split_above_the_class(folder: str, split: str) -> None:
    facts = Naming("folder", "folder").of(f"{folder}/benign/1.png")

    assert (facts.split, facts.label) == (split, "benign")


@pytest.mark.parametrize("key", ["file", "SOPInstanceUID", "StudyInstanceUID"])
def test_a_table_names_dicom_files_by_name_or_uid(tmp_path: Path, write_dicom: Callable[..., Path], key: str) -> None:
    uids = [f"2.25.9{number}" for number in range(2)]
    for number, uid in enumerate(uids):
        write_dicom(
            tmp_path / "images" / f"{number}.dcm", np.eye(16, dtype=np.int16), **{key: uid} if key != "file" else {}
        )
    names = ["0.dcm", "1.dcm"] if key == "file" else uids
    file = table(tmp_path, f"{'file' if key == 'file' else 'uid'},label,split\n{names[0]},x,train\n{names[1]},y,test\n")
    source = FolderConfig(path=str(tmp_path / "images"), labels="table", table=file).build(tmp_path)

    found = [example for item in source.items() for example in source.read(item)]

    assert [(each.label, each.split) for each in found] == [("x", "train"), ("y", "test")]


def test_an_attribute_names_classes_only_by_code_strings(
    tmp_path: Path, write_dicom: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for number, part in enumerate(["CHEST", "DOE-JANE-01", None]):
        file = write_dicom(
            tmp_path / f"{number}.dcm", np.eye(16, dtype=np.int16), BodyPartExamined=part and "CHEST " * 2
        )
        file.write_bytes(file.read_bytes().replace(b"CHEST CHEST ", (part or "").ljust(12).encode()))
    (tmp_path / "3.txt").touch()
    source = FolderConfig(path=str(tmp_path), labels="attribute").build(tmp_path)

    *images, text = source.items()

    assert [example.label for item in images for example in source.read(item)] == ["CHEST", "", ""]
    with pytest.raises(NotDicom):
        list(source.read(text))
    assert not caplog.records


def test_a_file_is_opened_once_though_its_header_names_the_class(
    tmp_path: Path, write_dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dicom(tmp_path / "a.dcm", np.eye(16, dtype=np.int16), BodyPartExamined="CHEST")
    source = FolderConfig(path=str(tmp_path), labels="attribute").build(tmp_path)
    opened: list[Path] = []
    whole = Path.open

    def noted(path: Path, mode: Literal["rb"]) -> BinaryIO:
        opened.append(path)
        return whole(path, mode)

    # How often a file is opened shows nowhere else.
    monkeypatch.setattr(Path, "open", noted)

    ((example,),) = [list(source.read(item)) for item in source.items()]

    assert example.label == "CHEST"
    assert opened == [tmp_path / "a.dcm"]


def test_a_header_that_inflates_without_end_is_refused_though_it_names_the_class(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    zeros = np.zeros((4096, 4096), np.int16)
    write_dicom(tmp_path / "a.dcm", zeros, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    source = FolderConfig(path=str(tmp_path), labels="attribute").build(tmp_path)

    (item,) = source.items()

    with pytest.raises(UnreadableImage, match="inflates to more than"):
        list(source.read(item))


def test_labels_that_come_from_nowhere_do_not_come_from_the_table(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    write_dicom(tmp_path / "images" / "a.dcm", np.eye(16, dtype=np.int16))
    file = table(tmp_path, "file,label,split\na.dcm,x,train\n")
    source = FolderConfig(path=str(tmp_path / "images"), table=file).build(tmp_path)

    ((example,),) = [list(source.read(item)) for item in source.items()]

    assert (example.label, example.split) == ("", "train")


def test_a_changed_table_makes_another_dataset(tmp_path: Path) -> None:
    config = example_of(ImageFolderConfig, tmp_path)
    rows = "".join(f"{'ab'[number % 2]}/{number}.png,x{number % 2}\n" for number in range(8))
    config = config.patched({"labels": "table", "table": str(table(tmp_path, f"file,label\n{rows}"))})
    preparation = PreparationConfig(size=16)

    first = prepare(config, preparation, tmp_path / "root")
    table(tmp_path, f"file,label\n{rows.replace('x0', 'y0')}")
    second = prepare(config, preparation, tmp_path / "root")

    assert (first.info.image.classes, second.info.image.classes) == (("x0", "x1"), ("x1", "y0"))


def test_a_table_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "MAX_BYTES", 5)  # a quarter of a gigabyte would take long to write

    with pytest.raises(SourceError, match="has more than 5 bytes"):
        Naming("table", table=table(tmp_path, "file,label\n")).of("a")
