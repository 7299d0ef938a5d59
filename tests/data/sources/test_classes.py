"""Which folders are taken for classes, and which for patients."""

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.sources.examples import example_of

from rayology.data import FolderConfig, ImageFolderConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources.classes import check_are_classes
from rayology.errors import SourceError


def check(names: Iterable[str], count: int = 50) -> None:
    """Check folders of so many images each, of patients that nobody knows."""
    check_are_classes({name: [""] * count for name in names})


@pytest.mark.parametrize(
    "names",
    [
        "AbdomenCT BreastMRI CXR ChestCT Hand HeadCT",
        "0 1 2 3 4 5 6 7 8 9",
        "00 01 02 03 04 05 06 07 08 09 10",
        "NORMAL PNEUMONIA",
        "CNV DME DRUSEN NORMAL",
        "akiec bcc bkl df mel nv vasc",
        "01_TUMOR 02_STROMA 03_COMPLEX 04_LYMPHO 05_DEBRIS 06_MUCOSA 07_ADIPOSE 08_EMPTY",
        "T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12",
        "C1 C2 C3 C4 C5 C6 C7 T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 L1 L2 L3 L4 L5",
        "grade-0 grade-1 grade-2 grade-3 grade-4",
        "bbps-0-1 bbps-2-3 esophagitis-a ulcerative-colitis-grade-0-1 ulcerative-colitis-grade-2-3 cecum",
        "40X 100X 200X 400X",
        "Covid-19 Viral_Pneumonia Normal",
        "case control",
        "pT1 pT2 pT3 pT4",
        "p16 p53 p63",
        "patient background",
        "20-29 30-39 40-49 50-59",
        "2019 2020 2021",
        "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
        "Lung_Opacity Viral_Pneumonia Pleural_Effusion",
        "1121-120-200-700 1121-127-700-500",
        "20-29_30-39 40-49_50-59",
        "2019-2020 2020-2021",
        "1.1.2 1.1.3 1.2.1",
        "class_001 benign malignant",
        "subtype subject sublux identity",
        "IDH1 IDH2 wildtype",
    ],
)
def test_classes_as_published_ones_are_named_are_classes(names: str) -> None:
    check(names.split())


@pytest.mark.parametrize(
    "names",
    [
        ["Doe^Jane", "Roe^Richard^^Dr"],
        ["Doe, Jane", "Müller,Jörg"],
        ["patient001", "patient002", "patient003"],
        ["Patient 1", "Patient 2"],
        ["subj-1", "subject_2", "SUB3"],
        ["case_7", "case_8"],
        ["AMC-001", "AMC-002"],
        ["LIDC-IDRI-0001", "LIDC-IDRI-0002"],
        ["TCGA-02-0003", "TCGA-02-0006"],
        ["PGBM-003"],
        ["77654033", "98892001", "98892003"],
        ["Jane_19700131", "Richard_19651224"],
        ["Jane 1970-01-31", "Richard 1965-12-24"],
        ["Jane_1970-01-31", "Richard_1965-12-24"],
        ["31.1.1970", "24.12.1965"],
        ["1.2.840.113619.2.55", "1.3.12.2.1107"],
        ["p03_0012", "p04_0044", "other"],
        [f"{number}" for number in range(1, 41)],
        [f"P{number}" for number in range(1, 41)],
        ["12.04.1956", "12.4.56", "benign"],
    ],
)
def test_folders_named_as_patients_are_not_classes(names: list[str]) -> None:
    with pytest.raises(SourceError, match=r"look like patients, not classes; write source\.labels: none") as raised:
        check(names)

    assert not [name for name in names if len(name) > 3 and name in str(raised.value)]


@pytest.mark.parametrize(
    "name",
    [
        "Doe^Jane",
        "Doe, Jane",
        "Doe,_Jane",
        "19560412",
        "Jane_560412",
        "1956-04-12",
        "4.12.1956",
        "12 04 1956",
        "12-04-56",
        "Jane 12Apr1956",
        "1.2.840.1.2",
        "patient1",
        "case 7",
    ],
)
def test_one_folder_that_names_a_patient_suffices(name: str) -> None:
    classes = [f"class {letter}" for letter in "abcdefgh"]

    with pytest.raises(SourceError, match=r"1 of 9 .* they look like patients") as raised:
        check([*classes, name])

    assert name not in str(raised.value)


@pytest.mark.parametrize("names", [["Jane Smith", "john_smith"], ["Jane A. Doe", "Ann van Eyck", "Richard-Roe", "c"]])
def test_folders_of_few_images_named_as_people_are_not_classes(names: list[str]) -> None:
    with pytest.raises(SourceError, match="are named with two words or three and hold fewer than 20 images, so they"):
        check(names, 19)

    check(names, 20)


def test_many_folders_of_few_images_are_not_classes() -> None:
    names = [f"{first}{last}" for first in ("Jane", "Mary", "Ann", "Eve") for last in ("Doe", "Roe", "Poe", "Coe")]

    with pytest.raises(SourceError, match="16 of 16 folders hold fewer than 20 images, so they look like patients"):
        check(names, 19)

    check(names, 20)
    check(names[:12], 1)


def test_a_single_number_with_zeros_among_classes_is_no_reason_to_refuse() -> None:
    check(["benign", "malignant", "AMC-001"])


def test_the_folders_of_real_pictures_are_classes(shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "mednist" / "mednist_18000.zip") as opened:
        names = {name.split("/")[0] for name in opened.namelist() if name.endswith(".jpeg")}

    assert len(names) == 6
    check(names)


@pytest.fixture
def patients(tmp_path: Path) -> ImageFolderConfig:
    """Pictures in a folder a patient."""
    for patient in range(3):
        for number in range(4):
            file = tmp_path / "images" / f"patient{patient}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16), 40 * patient + number, np.uint8)).save(file)
    return ImageFolderConfig(path=str(tmp_path / "images"))


def test_a_source_of_patients_is_refused_unless_it_says_so(patients: ImageFolderConfig, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"3 of 3 folders are named with .*source\.patient: '\^\(\[\^/\]\+\)/'"):
        patients.build(tmp_path).items()

    named = patients.patched({"labels": "none", "patient": "^([^/]+)/"}).build(tmp_path)
    found = [example for item in named.items() for example in named.read(item)]
    assert {(each.label, each.instance.identity.patient) for each in found} == {
        ("", "patient0"),
        ("", "patient1"),
        ("", "patient2"),
    }


@pytest.mark.parametrize("kind", ["image_folder", "folder"])
def test_two_folders_named_as_patients_are_refused_whatever_they_hold(tmp_path: Path, kind: str) -> None:
    for name in ("patient_001", "patient_002"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").touch()
    path = str(tmp_path / "images")
    config = ImageFolderConfig(path=path) if kind == "image_folder" else FolderConfig(path=path, labels="folder")

    with pytest.raises(SourceError, match=r"2 of 2 folders .* they look like patients"):
        config.build(tmp_path).items()


@pytest.mark.parametrize(
    "names", ["Viral_Pneumonia Bacterial_Pneumonia Normal", " ".join(f"class{n}" for n in range(13))]
)
def test_folders_of_dicom_are_judged_by_whose_images_they_hold(tmp_path: Path, names: str) -> None:
    for name in names.split():
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1").touch()

    assert FolderConfig(path=tmp_path / "images", labels="folder").build(tmp_path).items()


def test_a_folder_of_several_patients_is_a_class_whatever_its_name(patients: ImageFolderConfig, tmp_path: Path) -> None:
    assert len(patients.patched({"patient": r"(\d)\.png$"}).build(tmp_path).items()) == 12


def test_a_folder_of_one_known_patient_may_still_be_the_patient(patients: ImageFolderConfig, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="3 of 3 folders are named with"):
        patients.patched({"patient": "^([^/]+)/"}).build(tmp_path).items()


def test_a_folder_that_identifies_is_refused_though_it_holds_several_patients(
    patients: ImageFolderConfig, tmp_path: Path
) -> None:
    (tmp_path / "images" / "patient0").rename(tmp_path / "images" / "Doe^Jane")

    with pytest.raises(SourceError, match=r"1 of 3 classes are named with \^") as raised:
        patients.patched({"patient": r"(\d)\.png$"}).build(tmp_path).items()

    assert "Doe" not in str(raised.value)


def test_folders_of_dicom_that_identify_are_refused_before_any_is_read(tmp_path: Path) -> None:
    for name in ("benign", "malignant", "Doe^Jane"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1").touch()
    config = FolderConfig(path=tmp_path / "images")

    with pytest.raises(SourceError, match="1 of 3 classes are named with") as raised:
        config.patched({"labels": "folder"}).build(tmp_path).items()

    assert "Doe" not in str(raised.value)
    assert len(config.build(tmp_path).items()) == 3


@pytest.mark.parametrize("source", ["image_folder", "folder by file", "folder by uid"])
def test_labels_of_a_table_that_identify_are_refused_before_any_image_is_read(tmp_path: Path, source: str) -> None:
    key = "uid" if source.endswith("uid") else "file"
    names = ["2.25.1", "2.25.2"] if key == "uid" else ["a/0.png", "a/2.png"]
    pictures = example_of(ImageFolderConfig, tmp_path)
    table = tmp_path / "table.csv"
    table.write_text(f"{key},label,patient\n{names[0]},Doe^Jane,p\n{names[1]},benign,Roe^Jim\n")
    config = pictures if source == "image_folder" else FolderConfig(path=pictures.path)

    with pytest.raises(SourceError, match="1 of 2 classes are named with") as raised:
        config.patched({"labels": "table", "table": str(table)}).build(tmp_path).items()

    assert "Doe" not in str(raised.value)
    assert config.patched({"labels": "none", "table": str(table)}).build(tmp_path).items()


def test_an_attribute_that_identifies_is_no_class(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    for number, part in enumerate(["CHEST", "DOE 19560412"]):
        write_dicom(tmp_path / f"{number}.dcm", np.eye(16, dtype=np.int16), BodyPartExamined=part)
    source = FolderConfig(path=str(tmp_path), labels="attribute").build(tmp_path)

    assert [example.label for item in source.items() for example in source.read(item)] == ["CHEST", ""]


def test_no_patient_s_folder_reaches_a_dataset(patients: ImageFolderConfig, tmp_path: Path) -> None:
    for number, name in enumerate(("normal", "tumor", "Doe^Jane")):
        (tmp_path / "images" / f"patient{number}").rename(tmp_path / "images" / name)

    with pytest.raises(SourceError, match="1 of 3 classes"):
        prepare(patients, PreparationConfig(size=16), tmp_path / "root")

    assert not [file for file in (tmp_path / "root").rglob("*") if file.is_file() and b"Doe" in file.read_bytes()]
