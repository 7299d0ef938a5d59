"""What tables, names and headers say of an image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rayology.data import FolderConfig, PicturesConfig, PreparationConfig
from rayology.data import labels as labels_module
from rayology.data.labels import Membership, Naming
from rayology.data.prepare import prepare
from rayology.errors import SourceError


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("name,label\na,x\n", "first column is headed 'name'; write a CSV file with the headings file"),
        ("file,colour\na,x\n", "wrong in colour"),
        ("file,split\na,holdout\n", "wrong in split"),
        ("file,label\na\n", "wrong in a row"),
    ],
)
def test_a_wrong_table_says_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Naming("table", table=table(tmp_path, text)).of("a")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": "table"}, r"set source\.table"),
        ({"patient": "("}, r"source\.patient is no regular expression"),
        ({"patient": "p"}, r"source\.patient has no group"),
        ({"labels": "table", "table": Path("missing.csv")}, r"missing.csv: cannot be read \(FileNotFoundError\)"),
    ],
)
def test_a_wrong_setting_says_what_to_set(tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    config = PicturesConfig.example(tmp_path).model_copy(update=wrong)

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

    items = FolderConfig(path=str(tmp_path), labels="attribute").build(tmp_path).items()

    assert [item.label for item in items] == ["CHEST", "", "", ""]
    assert not caplog.records


def test_a_changed_table_makes_another_dataset(tmp_path: Path) -> None:
    config = PicturesConfig.example(tmp_path)
    rows = "".join(f"{'ab'[number % 2]}/{number}.png,x{number % 2}\n" for number in range(8))
    config = config.patched({"labels": "table", "table": str(table(tmp_path, f"file,label\n{rows}"))})
    preparation = PreparationConfig(size=16)

    first = prepare(config, preparation, tmp_path / "root")
    table(tmp_path, f"file,label\n{rows.replace('x0', 'y0')}")
    second = prepare(config, preparation, tmp_path / "root")

    assert (first.info.image.classes, second.info.image.classes) == (("x0", "x1"), ("x1", "y0"))


def test_a_table_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "MAX_TABLE_BYTES", 5)  # a quarter of a gigabyte would take long to write

    with pytest.raises(SourceError, match="has more than 5 bytes"):
        Naming("table", table=table(tmp_path, "file,label\n")).of("a")
