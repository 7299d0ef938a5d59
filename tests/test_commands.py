"""The commands behind ``rayology NAME``: one each, found by a name that is nearly right, and what the small ones do."""

import json
import os
import pkgutil
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NoReturn

import pytest
from PIL import Image
from tests.training.untrained import untrained

from rayology import commands
from rayology.bundle import Bundle
from rayology.commands import COMMANDS, generate, serve
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.store import Store

ROOT = Path(__file__).parents[1]
RunCommand = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def bundle(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return untrained(tmp_path_factory.mktemp("generate") / "bundle", small, data, seed=1)


def test_all_commands_are_listed_with_a_sentence_each(rayology: RunCommand) -> None:
    alone, helped = rayology(), rayology("--help")

    lines = [line.split(maxsplit=1) for line in alone.stdout.splitlines() if line.startswith("  ")]
    assert [name for name, _ in lines] == list(COMMANDS)
    assert all(sentence.endswith(".") for _, sentence in lines)
    assert alone.stdout == helped.stdout


def test_the_version_is_that_of_the_package(rayology: RunCommand) -> None:
    assert rayology("--version").stdout == f"rayology {version('rayology')}\n"


@pytest.mark.parametrize(
    ("word", "hint"), [("trian", "did you mean train?"), ("zzz", "write one of: prepare, train, tune,")]
)
def test_a_command_that_is_not_there_is_answered_with_one_that_is(rayology: RunCommand, word: str, hint: str) -> None:
    ended = rayology(word)

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"rayology: there is no command {word!r}; {hint}")


def test_every_command_has_its_config_and_every_file_is_a_command() -> None:
    assert sorted(module.name for module in pkgutil.iter_modules(commands.__path__)) == sorted(COMMANDS)
    for name, place in COMMANDS.items():
        assert issubclass(pkgutil.resolve_name(place), Config)
        assert callable(pkgutil.resolve_name(f"rayology.commands.{name}").main)


def test_a_job_starts_the_command_of_its_name() -> None:
    jobs = {file.stem for file in (ROOT / "jobs").glob("*.py")} - {"demo"}

    assert jobs <= set(COMMANDS)
    for name in jobs:
        job, command = (
            (ROOT / "jobs" / f"{name}.py").read_text(),
            (Path(commands.__file__).parent / f"{name}.py").read_text(),
        )
        assert job.endswith(f'    start("{name}")\n')
        assert job.splitlines()[0] == command.splitlines()[0]


def test_images_are_written_under_seed_index_and_class(rayology: RunCommand, bundle: Bundle, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.set_champion("small", store.publish(bundle, "small"))
    flags = ["--count", "6", "--seed", "7", "--first-index", "3", "--output"]

    own = rayology("generate", "--store", store.uri, *flags, tmp_path / "own")
    same = rayology("generate", "--bundle", bundle.path, *flags, tmp_path / "same")
    nodules = rayology(
        "generate", "--bundle", bundle.path, "--class", "nodule", "--format", "npy", *flags, tmp_path / "n"
    )
    pictures = rayology("generate", "--bundle", bundle.path, "--format", "png", *flags, tmp_path / "pictures")

    assert {each.returncode for each in (own, same, nodules, pictures)} == {0}
    assert json.loads(own.stdout)["version"] == store.champion("small")
    written = sorted(file.name for file in (tmp_path / "own").iterdir())
    assert [name.split("-")[:2] for name in written[::2]] == [["7", f"00000{index}"] for index in range(3, 9)]
    for name in written:
        assert (tmp_path / "own" / name).read_bytes().startswith((b"\x89PNG", b"\x93NUMPY"))
    for file in (tmp_path / "own").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "same" / file.name).read_bytes()
    assert sorted(file.name for file in (tmp_path / "n").iterdir()) == [f"7-00000{i}-nodule.npy" for i in range(3, 9)]
    assert {file.suffix for file in (tmp_path / "pictures").iterdir()} == {".png"}
    with Image.open(next((tmp_path / "pictures").iterdir())) as picture:
        text = picture.text  # type: ignore[attr-defined] # a PNG's
    assert (text["Synthetic"], text["Seed"], text["Version"]) == ("YES", "7", bundle.fingerprint)


def test_a_bundles_path_is_told_by_neither_the_answer_nor_a_picture(
    rayology: RunCommand, bundle: Bundle, tmp_path: Path
) -> None:
    private = shutil.copytree(bundle.path, tmp_path / "bundle")

    ended = rayology("generate", "--bundle", private, "--count", "2", "--format", "png", "--output", "new")

    assert str(tmp_path) not in ended.stdout
    for file in (tmp_path / "new").iterdir():
        with Image.open(file) as picture:
            assert str(tmp_path) not in str(picture.info)
            assert picture.info["Version"] == bundle.fingerprint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "."], "output: . is there and not an empty folder; name a new one"),
        (["--class", "zebra", "--output", "new"], "no such class: ask for one of consolidation, effusion, nodule"),
        (["--first-index", str(2**63 - 2)], "the indices must end below 9223372036854775808"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_leaves_nothing(
    rayology: RunCommand, bundle: Bundle, tmp_path: Path, flags: list[str], message: str
) -> None:
    (tmp_path / "there").touch()

    ended = rayology("generate", "--bundle", bundle.path, *flags)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_a_model_that_does_not_generate_is_refused(
    rayology: RunCommand, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    unable = replace(bundle, manifest=bundle.manifest.model_copy(update={"capabilities": ()}))
    monkeypatch.setattr(generate, "chosen", lambda _: (unable, "1"))  # every model that is shipped generates

    assert "a vae does not generate; name another model" in rayology("generate").stderr


@pytest.fixture
def config(bundle: Bundle, tmp_path: Path) -> Path:
    """A file for Serve, with a champion in its store."""
    store = Store(str(tmp_path / "store"))
    store.set_champion("small", store.publish(bundle, "small"))
    application = {"name": "small", "route_prefix": "/models/small", "args": {"store": store.uri}}
    file = tmp_path / "serve.yaml"
    file.write_text(
        json.dumps({"proxy_location": "HeadOnly", "applications": [application, {"import_path": "other:app"}]})
    )
    return file


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_serving_becomes_serve_run_with_what_was_asked(
    rayology: RunCommand, config: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[Any] = []

    def execve(*asked: object) -> NoReturn:
        executed.extend(asked)
        raise SystemExit(0)

    monkeypatch.setenv("RAYOLOGY_TOKEN", "secret")
    monkeypatch.setattr(os, "execve", execve)  # this process must stay itself

    said = rayology("serve", config, "--http-options.port", str(port)).stderr

    _, [*_, verb, file, announced], environment = executed
    asked = json.loads(Path(file).read_text())
    shutil.rmtree(Path(file).parent)
    assert f"http://127.0.0.1:{port}/models/small/" in said
    assert announced == f"http://127.0.0.1:{port}/models/small/"
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert verb == "run"
    assert asked["http_options"] == {"host": "127.0.0.1", "port": port}
    assert asked["proxy_location"] == "HeadOnly"
    assert [each["import_path"] for each in asked["applications"]] == [serve.OURS, "other:app"]


def test_a_busy_port_a_missing_token_and_a_wrong_argument_are_one_line_each(
    rayology: RunCommand, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAYOLOGY_TOKEN", raising=False)
    without_token = rayology("serve", config)
    monkeypatch.setenv("RAYOLOGY_TOKEN", "secret")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        busy = rayology("serve", config, "--http-options.port", str(listening.getsockname()[1]))
    wrong = rayology("serve", "--applications", '[{"name": "x", "args": {"stoer": "y"}}]')

    for ended, message in [
        (without_token, "RAYOLOGY_TOKEN: not set; export a token"),
        (busy, "Address already in use; end what listens there, or name another port with --http-options.port"),
        (wrong, "applications: args of x: stoer: no such field; did you mean store?"),
    ]:
        assert ended.returncode == 2
        assert message in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
