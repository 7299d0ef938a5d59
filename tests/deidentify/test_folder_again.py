"""A folder that was de-identified before: what is done again, what stays, and what is refused."""

import shutil
from pathlib import Path

import pytest
from tests.deidentify.folders import RAMP, WriteDicom, copies, everything_below, run

from rayology.deidentify import ProfileConfig, Progress, Rule, deidentify_folder
from rayology.errors import ConfigError


def test_a_run_that_wrote_no_copy_leaves_its_folder_to_the_next(tmp_path: Path, source: Path) -> None:
    del source
    assert run(tmp_path, ProfileConfig(rules=(Rule(reason="a mistake", when={}),))).written == 0

    assert run(tmp_path).written == 3


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


def test_another_run_says_how_many_files_it_need_not_do_again(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del source
    with caplog.at_level("INFO"):
        run(tmp_path)
        assert not caplog.messages
        run(tmp_path)

    assert caplog.messages == ["6 of 6 files were done before and are not done again."]
