"""What is known before Ray starts is said before Ray starts."""

from pathlib import Path

import pytest
from tests.training.untrained import untrained

from rayology import preflight
from rayology.data import FolderConfig, PreparedDataset
from rayology.errors import ConfigError, TrainingError
from rayology.experiment import Experiment
from rayology.preflight import begin, joins_cluster, require_places


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test's Ray may run in this process.
    monkeypatch.setattr(preflight, "joins_cluster", lambda: False)


def test_a_storage_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"^storage: .*file/storage: Not a directory; name a folder that can be"):
        require_places(Experiment(storage=tmp_path / "file" / "storage"))


def test_a_disk_that_is_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight, "TemporaryFile", full)  # no disk of the tests is full

    with pytest.raises(ConfigError, match=r"No space left on device; name a folder that can be written$"):
        require_places(Experiment(storage=tmp_path))


def test_a_storage_that_goes_with_the_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    working_dir = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "package"
    working_dir.mkdir(parents=True)
    monkeypatch.chdir(working_dir)

    with pytest.raises(ConfigError, match=r"lies in a folder of Ray.*; name one that every node shares$"):
        require_places(Experiment())


@pytest.mark.parametrize("name", ["path", "table"])
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    source = FolderConfig(path=str(tmp_path)).patched({name: str(tmp_path / "none")})

    with pytest.raises(ConfigError, match=rf"^source\.{name}: .*/none is not there; write where"):
        require_places(Experiment(storage=tmp_path, source=source))


def test_a_source_behind_an_address_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    require_places(Experiment(storage=tmp_path, source=FolderConfig(path="s3://bucket/images")))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"num_workers": 10_000}, r"10000 workers of 1 CPUs do not fit the \d+ of this machine; lower scaling"),
        ({"num_workers": 10_000, "device": "cuda"}, r"this machine has \d+ GPUs; write auto, or name a cluster"),
    ],
)
def test_workers_that_do_not_fit_this_machine_are_refused_before_a_run_begins(
    tmp_path: Path, scaling: dict[str, object], message: str
) -> None:
    experiment = Experiment(storage=tmp_path).patched({"scaling": scaling, "schedule": {"batch_size": 10_000}})

    with pytest.raises(TrainingError, match=message):
        begin(experiment, "runs")

    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("alone")
def test_a_training_that_may_have_fewer_workers_fits_where_the_fewest_fit(tmp_path: Path) -> None:
    batch = {"schedule": {"batch_size": 10_000}}
    elastic = Experiment(storage=tmp_path).patched({"scaling": {"num_workers": 10_000, "min_workers": 1}, **batch})

    assert begin(elastic, "runs").experiment.scaling.least_workers == 1
    with pytest.raises(ConfigError, match="min_workers 3 is more than num_workers 2; lower it"):
        Experiment().patched({"scaling": {"num_workers": 2, "min_workers": 3}})


@pytest.mark.usefixtures("alone")
def test_a_run_that_goes_on_is_asked_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    begin(Experiment(storage=tmp_path, source=FolderConfig(path=str(tmp_path / "images"))), "runs")
    (tmp_path / "images").rmdir()

    with pytest.raises(ConfigError, match=r"source\.path: .* is not there"):
        begin(Experiment(storage=tmp_path, resume="last"), "runs")


@pytest.mark.usefixtures("alone")
def test_a_run_that_has_its_bundle_needs_neither_its_source_nor_its_workers(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    source = {"kind": "folder", "path": str(tmp_path / "images")}
    run = begin(small.patched({"storage": str(tmp_path), "source": source}), "runs")
    untrained(run.folder / "bundle", run.experiment, data)
    (tmp_path / "images").rmdir()

    assert begin(Experiment(storage=tmp_path, resume="last"), "runs").folder == run.folder


def test_a_cluster_is_joined_where_its_address_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's Ray may run in this process

    assert not joins_cluster()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").touch()
    assert joins_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not joins_cluster()
