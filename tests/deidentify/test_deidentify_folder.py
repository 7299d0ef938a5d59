"""A folder of files becomes one that can be handed on, whatever some of the files are, and a report without a name."""

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from rayology.data import FolderConfig, PreparationConfig
from rayology.data.dicom import read
from rayology.data.prepare import prepare
from rayology.data.sources.files.local import BROKEN, OUTSIDE, TO_FOLDER
from rayology.deidentify import ProfileConfig, Progress, Report, Rule, SafePrivate, deidentify_folder
from rayology.deidentify.folder import FOREIGN, REPEATED
from rayology.deidentify.ledger import Original
from rayology.errors import ConfigError, SourceError

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)
EVERYTHING = ProfileConfig(rules=(Rule(reason="every file of a zoo", when={}, action="pass"),))


def run(root: Path, config: ProfileConfig | None = None, source: Path | None = None) -> Report:
    return deidentify_folder(source or root / "source", root / "output", root / "private", config or ProfileConfig())


def copies(root: Path) -> list[Path]:
    return sorted((root / "output").rglob("*.dcm"))


@pytest.fixture
def source(tmp_path: Path, write_dicom: WriteDicom) -> Path:
    """Two files of Jane Doe, one of John Roe, a photograph of a screen, a letter and a wreck."""
    folder = tmp_path / "source"
    jane = {"PatientName": "Doe^Jane", "PatientID": "JD-4711", "StudyInstanceUID": "1.2.3.1"}
    john = {"PatientName": "Roe^John", "PatientID": "JR-4712", "StudyInstanceUID": "1.2.3.2"}
    for name, attributes in {
        "Doe_Jane/1.dcm": jane | {"SOPInstanceUID": "1.2.3.1.1"},
        "Doe_Jane/2.dcm": jane | {"SOPInstanceUID": "1.2.3.1.2"},
        "Roe_John/1.dcm": john | {"SOPInstanceUID": "1.2.3.2.1"},
        "Roe_John/screen.dcm": john | {"SOPInstanceUID": "1.2.3.2.2", "BurnedInAnnotation": "YES"},
    }.items():
        write_dicom(folder / name, RAMP, **attributes)
    (folder / "Roe_John" / "letter.txt").write_text("Dear Dr. Who, ...")
    (folder / "Roe_John" / "wreck.dcm").write_bytes((folder / "Roe_John" / "1.dcm").read_bytes()[:200])
    return folder


def everything_below(folder: Path) -> bytes:
    names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*")).encode()
    return names + b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_a_rule_let_pass_is_counted_by_its_reason(tmp_path: Path, source: Path) -> None:
    del source
    rule = Rule(reason="our screens are clean", when={"BurnedInAnnotation": "YES"}, action="pass")

    report = run(tmp_path, ProfileConfig(rules=(rule,)))

    assert (report.written, report.let_pass, report.held_back) == (4, {"our screens are clean": 1}, {})
    assert "1 let pass by a rule" in (tmp_path / "output" / "report.txt").read_text()


def test_a_run_that_wrote_no_copy_leaves_its_folder_to_the_next(tmp_path: Path, source: Path) -> None:
    del source
    assert run(tmp_path, ProfileConfig(rules=(Rule(reason="a mistake", when={}),))).written == 0

    assert run(tmp_path).written == 3


def test_what_may_leave_is_written_and_the_rest_is_counted(tmp_path: Path, source: Path) -> None:
    del source

    report = run(tmp_path)

    assert (report.files, report.written, report.masked) == (6, 3, 0)
    assert report.held_back == {"burned-in annotation": 1}
    assert (report.not_dicom, sum(report.unreadable.values())) == (1, 1)
    assert len(copies(tmp_path)) == 3
    assert report.done["replaced"]["PatientID"] == 3


def test_neither_names_nor_values_leave(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    everything = everything_below(tmp_path / "output")
    for secret in (b"Doe", b"Roe", b"Jane", b"JD-4711", b"1.2.3.1", b"letter", b"screen.dcm", b"wreck"):
        assert secret not in everything, secret


def test_files_of_a_series_lie_together(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    first, second, other = sorted(copies(tmp_path), key=lambda copy: len(list(copy.parent.iterdir())), reverse=True)
    assert first.parent == second.parent != other.parent
    assert dcmread(first).PatientID == first.relative_to(tmp_path / "output" / "dicom").parts[0]
    assert first.stem == dcmread(first).SOPInstanceUID


def test_what_names_files_is_kept_where_its_owner_alone_reads_it(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    (listed,) = (tmp_path / "private").glob("held-back-*.json")
    held = json.loads(listed.read_text())
    assert {"file": "Roe_John/screen.dcm", "reason": "burned-in annotation"} in held
    assert len(held) == 3
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (tmp_path / "private").iterdir())


def test_the_report_is_there_for_programs_and_for_people(tmp_path: Path, source: Path) -> None:
    del source

    report = run(tmp_path)

    assert json.loads((tmp_path / "output" / "report.json").read_text())["written"] == report.written
    told = (tmp_path / "output" / "report.txt").read_text()
    assert "3 of 6 files were de-identified" in told
    assert "1 held back: burned-in annotation" in told
    assert "1 not DICOM, left out" in told


def test_another_run_changes_nothing_and_takes_up_what_is_new(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    first = run(tmp_path)
    before = {copy: copy.stat().st_mtime_ns for copy in copies(tmp_path)}

    again = run(tmp_path)
    write_dicom(source / "new.dcm", RAMP, SOPInstanceUID="1.2.3.9")
    more = run(tmp_path)

    assert again == first
    assert more.written == first.written + 1
    assert {copy: copy.stat().st_mtime_ns for copy in copies(tmp_path) if copy in before} == before


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path, source: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deidentify_folder(source, tmp_path / "output", tmp_path / "private", ProfileConfig(), tell=interrupt)
    (tmp_path / "output" / "dicom" / "half.part").touch()
    (ledger,) = (tmp_path / "private").glob("outcomes-*")
    with ledger.open("a") as opened:
        opened.write('{"file": "cut')

    report = run(tmp_path)

    shutil.copytree(source, tmp_path / "other" / "source")
    (tmp_path / "other" / "private").mkdir()
    shutil.copy(tmp_path / "private" / "key", tmp_path / "other" / "private" / "key")
    assert report == run(tmp_path / "other")
    assert everything_below(tmp_path / "output") == everything_below(tmp_path / "other" / "output")


def test_a_file_that_was_renamed_keeps_its_copy(tmp_path: Path, source: Path) -> None:
    run(tmp_path)
    before = copies(tmp_path)
    (source / "Doe_Jane" / "2.dcm").rename(source / "Doe_Jane" / "two.dcm")

    run(tmp_path)
    report = run(tmp_path)

    assert copies(tmp_path) == before
    assert report.held_back == {"burned-in annotation": 1}


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path: Path, source: Path) -> None:
    one = run(tmp_path)
    (tmp_path / "more" / "private").mkdir(parents=True)
    shutil.copy(tmp_path / "private" / "key", tmp_path / "more" / "private" / "key")

    more = tmp_path / "more"
    two = deidentify_folder(source, more / "output", more / "private", ProfileConfig(), num_workers=2)

    assert two == one
    assert everything_below(tmp_path / "more" / "output") == everything_below(tmp_path / "output")


def test_a_file_that_changed_is_done_anew(tmp_path: Path, source: Path, write_dicom: WriteDicom) -> None:
    run(tmp_path)
    write_dicom(source / "Roe_John" / "1.dcm", RAMP, SOPInstanceUID="1.2.3.77", PatientID="another one")

    report = run(tmp_path)

    assert report.written == len(copies(tmp_path)) == 3


def test_a_copy_goes_with_its_original(tmp_path: Path, source: Path) -> None:
    run(tmp_path)
    shutil.rmtree(source / "Doe_Jane")

    report = run(tmp_path)

    assert report.written == len(copies(tmp_path)) == 1


def test_other_settings_ask_for_another_folder(tmp_path: Path, source: Path) -> None:
    del source
    run(tmp_path)

    with pytest.raises(ConfigError, match="holds files of other settings"):
        run(tmp_path, ProfileConfig(dates="shifted"))


def test_a_run_that_another_version_began_asks_for_another_folder(tmp_path: Path, source: Path) -> None:
    del source
    run(tmp_path)
    (outcomes,) = (tmp_path / "private").glob("outcomes-*")
    outcomes.rename(outcomes.with_name(outcomes.name.replace("outcomes", "ledger")))

    with pytest.raises(ConfigError, match="holds files of a run that another version began; name an empty folder"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("output", "private"), [("source/output", "private"), ("output", "output/private"), (".", "private")]
)
def test_folders_within_each_other_are_refused(tmp_path: Path, source: Path, output: str, private: str) -> None:
    with pytest.raises(ConfigError, match="lies within"):
        deidentify_folder(source, tmp_path / output, tmp_path / private, ProfileConfig())


@pytest.mark.parametrize("name", ["missing", "empty", "packed.zip"])
def test_a_source_without_files_says_what_to_name_by_the_word_of_the_job(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed.zip").touch()

    with pytest.raises(SourceError, match=rf"^source: .*/{name}: no such folder, or no file in it; [^.]*$"):
        run(tmp_path, source=tmp_path / name)


def test_a_second_file_of_one_instance_is_held_back(tmp_path: Path, source: Path) -> None:
    shutil.copy(source / "Roe_John" / "1.dcm", source / "copy.dcm")

    report = run(tmp_path)

    assert report.written == 3
    assert report.held_back[REPEATED] == 1
    assert run(tmp_path) == report


def test_what_identifies_another_files_patient_is_taken_out_again(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "mixed.dcm", RAMP, SOPInstanceUID="1.2.3.8", Manufacturer="as for JD-4711")

    report = run(tmp_path)

    assert report.held_back[FOREIGN] == 1
    assert report.written == len(copies(tmp_path)) == 3
    assert b"JD-4711" not in everything_below(tmp_path / "output")


WORDS = {"ImageType": ["ORIGINAL", "PRIMARY", "TRACEW"], "Manufacturer": "Acme", "BodyPartExamined": "CHEST"}
"""What scanners write into the four files."""
TEST_OBJECT = {"PatientName": "Muster^Test", "PatientID": "QA-7712", "SOPInstanceUID": "1.2.3.8"}


def words_of_scanners(source: Path) -> None:
    for file in source.rglob("?.dcm"):
        dataset = dcmread(file)
        for keyword, value in WORDS.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)


@pytest.mark.parametrize("word", ["PRIMARY", "chest", "ACME", "Tracew", "CT", "Li", "0", "2020"])
def test_an_ordinary_word_in_an_identifying_attribute_holds_back_no_other_file(
    tmp_path: Path, source: Path, write_dicom: WriteDicom, word: str
) -> None:
    words_of_scanners(source)
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName=word)

    assert run(tmp_path).written == 4


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("Philips", {"Manufacturer": "Philips Medical Systems"}),
        ("Siemens", {"Manufacturer": "SIEMENS Healthineers"}),
        ("Somatom", {"ManufacturerModelName": "SOMATOM Force"}),
        ("Biograph64", {"ManufacturerModelName": "Biograph64"}),
        ("Biograph 64", {"ManufacturerModelName": "Biograph 64-4R"}),
        ("Teledyne", {"DetectorManufacturerName": "Teledyne DALSA"}),
        ("EMISSION", {"CountsSource": "EMISSION"}),
        ("FIXED", {"TableType": "FIXED"}),
        ("Presentation", {"PresentationIntentType": "FOR PRESENTATION"}),
        ("HELIX", {"ScanOptions": ["HELIX", "HELICAL MODE"]}),
        ("FILTER", {"FilterType": "FILTER"}),
        ("BODY FILTER", {"FilterType": "BODY FILTER"}),
        ("Uniform", {"ApplicableSafetyStandardAgency": "IEC", "CollimatorType": "UNIFORM"}),
        ("SOM5", {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]}),
        ("DIS2D", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "DIS2D"]}),
    ],
)
def test_a_word_of_makers_models_and_defined_terms_holds_back_no_other_file(
    tmp_path: Path, write_dicom: WriteDicom, word: str, written: dict[str, object]
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "source" / f"{number}.dcm", RAMP, SOPInstanceUID=f"1.2.4.{number}", **written)
    write_dicom(tmp_path / "source" / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": word}, OperatorsName=word)

    assert run(tmp_path).written == 4


@pytest.mark.parametrize(
    "written",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "SMITH"]},
        {"Manufacturer": "Smith", "ImageType": ["ORIGINAL", "PRIMARY", "SMITH"]},
        {"ManufacturerModelName": "Smith Nephew", "SoftwareVersions": "by Smith"},
        {"ManufacturerModelName": "Smith2024", "SoftwareVersions": "by Smith"},
    ],
)
def test_a_name_is_found_in_every_place_but_that_of_the_maker(
    tmp_path: Path, write_dicom: WriteDicom, written: dict[str, object]
) -> None:
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", **written)
    write_dicom(tmp_path / "source" / "b.dcm", RAMP, SOPInstanceUID="1.2.4.2", PatientName="Smith")

    report = run(tmp_path)

    assert (report.written, report.held_back) == (1, {FOREIGN: 1})


def test_a_private_creator_that_the_config_names_holds_back_no_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    safe = SafePrivate(group="7053", creator="Philips PET Private Group", element="00")
    dataset = dcmread(write_dicom(tmp_path / "source" / "a.dcm", RAMP, **TEST_OBJECT, OperatorsName="Philips"))
    dataset.private_block(0x7053, safe.creator, create=True).add_new(0x00, "DS", "1.5")
    dataset.save_as(tmp_path / "source" / "a.dcm")

    assert run(tmp_path, ProfileConfig(safe_private=(safe,))).written == 1
    assert safe.creator.encode() in everything_below(tmp_path / "output")


def test_a_name_of_ones_own_is_found_also_where_the_maker_stands(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, PatientName="Smith", Manufacturer="for Smith")

    assert run(tmp_path).written == 0


def test_an_identifier_is_found_where_a_code_belongs_and_the_private_list_says_whose_it_is(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": "MUELLER"})
    for name in ("a", "b"):
        write_dicom(source / f"{name}.dcm", RAMP, SOPInstanceUID=f"1.2.4.{ord(name)}", BodyPartExamined="MUELLER")

    report = run(tmp_path)

    assert report.held_back[FOREIGN] == 2
    (listed,) = (tmp_path / "private").glob("held-back-*.json")
    held = {entry["file"]: entry for entry in json.loads(listed.read_text())}
    assert held["b.dcm"] == {"file": "b.dcm", "reason": FOREIGN, "files_with": {"PatientID of qa.dcm": 2}}
    assert b"qa.dcm" not in everything_below(tmp_path / "output")


def test_once_the_file_that_held_back_others_is_gone_they_are_written(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", BodyPartExamined="MUELLER")
    held_by = write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": "MUELLER"})
    before = run(tmp_path)
    held_by.unlink()

    assert (before.held_back[FOREIGN], before.written, run(tmp_path).written) == (1, 4, 4)


def test_a_rule_allows_a_value_of_the_files_that_fit_and_parts_of_it(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    words_of_scanners(source)
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName="Tracew^Acme", **WORDS)
    write_dicom(source / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", ProtocolName="x", ConvolutionKernel="Tracew^Acme")
    rule = Rule(reason="a test object", when={"OperatorsName": "tracew.*"}, action="allow")

    report = run(tmp_path, ProfileConfig(rules=(rule,)))

    assert (report.written, report.held_back) == (5, {"burned-in annotation": 1})


def test_a_rule_allows_each_of_several_values(tmp_path: Path, write_dicom: WriteDicom) -> None:
    names = ["Acme Cal", "Quality^Rig"]
    write_dicom(tmp_path / "source" / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName=names)
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", SoftwareVersions=["acme cal", "Rig^9"])
    rule = Rule(reason="a test object", when={"OperatorsName": "acme.*"}, action="allow")

    assert run(tmp_path).written == 1
    shutil.rmtree(tmp_path / "output")
    assert run(tmp_path, ProfileConfig(rules=(rule,))).written == 2


def test_another_run_says_how_many_files_it_need_not_do_again(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del source
    with caplog.at_level("INFO"):
        run(tmp_path)
        assert not caplog.messages
        run(tmp_path)

    assert caplog.messages == ["6 of 6 files were done before and are not done again."]


@pytest.mark.slow
def test_a_real_series_keeps_its_pixels_geometry_and_order(tmp_path: Path, head_folder: Path) -> None:
    report = run(tmp_path, ProfileConfig(dates="shifted"), source=head_folder)

    originals = [dcmread(file) for file in sorted(head_folder.rglob("*")) if file.is_file()]
    results = {dcmread(copy).InstanceNumber: copy for copy in copies(tmp_path)}
    assert report.written == len(originals) == len(results) == 28
    for original in originals:
        copy = dcmread(results[original.InstanceNumber])
        assert copy.PixelData == original.PixelData
        assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert copy.ImagePositionPatient == original.ImagePositionPatient
        assert copy.SeriesInstanceUID == dcmread(results[1]).SeriesInstanceUID


@pytest.mark.slow
def test_a_de_identified_series_prepares_as_its_original_does(tmp_path: Path, head_folder: Path) -> None:
    run(tmp_path, source=head_folder)

    size = PreparationConfig(size=32)
    original = prepare(FolderConfig(path=head_folder), size, tmp_path / "original")
    copied = prepare(FolderConfig(path=tmp_path / "output" / "dicom"), size, tmp_path / "copied")

    assert copied.info.counts == original.info.counts
    pixels = (sum(int(instance.pixels.sum()) for instance in read(copy)) for copy in copies(tmp_path))
    files = (file for file in head_folder.rglob("*") if file.is_file())
    assert sum(pixels) == sum(sum(int(instance.pixels.sum()) for instance in read(file)) for file in files)


@pytest.mark.slow
def test_a_study_of_several_series_survives(tmp_path: Path, shared_data: Path) -> None:
    with tarfile.open(next((shared_data / "mr_pgbm003_study").glob("*.tar.xz"))) as opened:
        opened.extractall(tmp_path / "source", filter="data")

    report = run(tmp_path, ProfileConfig(dates="shifted", descriptors="cleaned"))

    found = [dcmread(copy, stop_before_pixels=True) for copy in copies(tmp_path)]
    assert report.written == report.files == len(found) == 88
    assert len({copy.SeriesInstanceUID for copy in found}) == 4
    assert len({(copy.PatientID, copy.StudyInstanceUID) for copy in found}) == 1
    assert len({copy.SOPInstanceUID for copy in found}) == 88


@pytest.mark.slow
def test_no_file_of_the_zoo_stops_the_rest(tmp_path: Path, shared_data: Path) -> None:
    report = run(tmp_path, EVERYTHING, source=shared_data / "dicom_zoo")

    assert report.files == 301
    assert report.written + report.held_back[REPEATED] >= 260
    assert report.written == len(copies(tmp_path))
    left_out = sum(report.unreadable.values()) + sum(report.held_back.values()) + report.not_dicom
    assert left_out + report.written == report.files


@pytest.mark.slow
def test_the_zoo_under_the_built_in_rules_is_mostly_held_back(tmp_path: Path, shared_data: Path) -> None:
    report = run(tmp_path, source=shared_data / "dicom_zoo")

    assert report.held_back["secondary capture"] > 20
    assert report.held_back["a directory of files"] >= 7
    assert report.written > 80


def test_a_file_that_cannot_be_looked_at_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^a file of the source: No such file or directory; see that each can be"):
        Original.at(tmp_path / "doe.dcm", tmp_path)


def test_links_are_held_back_unread_and_names_may_be_any_bytes(
    tmp_path: Path, write_dicom: WriteDicom, source: Path
) -> None:
    write_dicom(tmp_path / "secret" / "1.dcm", RAMP, PatientID="Canary-1")
    (source / "out.dcm").symlink_to(tmp_path / "secret" / "1.dcm")
    (source / "folder").symlink_to(tmp_path / "secret")
    (source / "lost.dcm").symlink_to("nowhere")
    (source / "Roe_John" / "1.dcm").rename(source / os.fsdecode(b"K\xf6ln.dcm"))

    first, again = run(tmp_path), run(tmp_path)

    assert first == again
    assert first.unreadable.items() >= {OUTSIDE: 1, TO_FOLDER: 1, BROKEN: 1}.items()
    assert len(copies(tmp_path)) == 3
    assert b"Canary-1" not in everything_below(tmp_path / "output")
