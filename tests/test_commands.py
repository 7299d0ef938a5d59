"""The commands behind ``rayology NAME``: one each, found by a name that is nearly right, and what the small ones do."""

import errno
import json
import os
import pkgutil
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image
from ray.serve.schema import HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema
from tests.training.untrained import untrained

from rayology import commands, preflight
from rayology.bundle import Bundle
from rayology.commands import COMMANDS, generate, serve
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.serving import server
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
def application(bundle: Bundle, tmp_path: Path) -> dict[str, object]:
    """An application of ours, with a champion in its store."""
    store = Store(str(tmp_path / "store"))
    store.set_champion("small", store.publish(bundle, "small"))
    return {"name": "small", "route_prefix": "/models/small", "args": {"store": store.uri}}


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served, where no Ray is joined and none is started."""
    asked: list[Any] = []
    monkeypatch.setenv("RAYOLOGY_TOKEN", "secret")
    monkeypatch.setattr(server, "host", lambda *args, **options: asked.append((*args, options)))
    monkeypatch.setattr(sys, "path", [*sys.path])  # which the command adds to
    monkeypatch.setattr(preflight, "joins_cluster", lambda: False)  # another test's Ray may run in this process
    return asked


def test_serving_hosts_what_was_asked_in_a_folder_that_goes_with_it(
    rayology: RunCommand, application: dict[str, object], port: int, hosted: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "serve.yaml"
    other = {"name": "other", "route_prefix": "/other", "import_path": "json:loads", "runtime_env": {}}
    file.write_text(json.dumps({"proxy_location": "HeadOnly", "applications": [application, other]}))

    said = rayology("serve", file, "--http-options.port", str(port)).stderr

    (schema, built, variables, options) = hosted[0]
    url = f"http://127.0.0.1:{port}/models/small/"
    assert url in said
    assert {name: each.url for name, each in built.items()} == {"small": url}
    assert (schema.http_options.host, schema.http_options.port) == ("127.0.0.1", port)
    assert schema.proxy_location == "HeadOnly"
    assert [each.import_path for each in schema.applications] == [serve.OURS, "json:loads"]
    assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    folder = Path(variables["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"])
    assert not folder.exists()
    # HAProxy takes paths of up to 97 characters; Ray puts the sockets below the name of a node.
    assert len(str(folder / ("f" * 56) / "metrics.sock")) <= 97
    assert options == {"is_alone": True}


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            {"route_prefix": "models small"},
            "route_prefix: 'models small' is not a path; write one such as /models/demo",
        ),
        (
            {"import_path": "rayology.serving.ap:build"},
            "names no module of this machine; did you mean rayology.serving",
        ),
        (
            {"import_path": "nothing:there"},
            "import_path of small: 'nothing:there' names no module of this machine; writ",
        ),
        ({"import_path": "nothing"}, "'nothing' names no module of this machine; write MODULE:NAME"),
        ({"route_prefx": "/"}, "applications.0: route_prefx: no such field; did you mean route_prefix?"),
        ({"zzz": 1}, "zzz: no such field; write one of: name, route_prefix, import_path, args, "),
        ({"args": {"stoer": "y"}}, "applications: args of small: stoer: no such field; did you mean store?"),
        (
            {"args": {"num_gpus": 0.5, "num_replicas": 3}},
            "num_gpus of all replicas is 1.5, this machine has 1 GPUs; low",
        ),
        ({"name": ""}, "Serve refuses the config: applications: Application names must be nonempty"),
    ],
)
def test_an_application_that_cannot_be_served_is_refused_in_one_line(
    rayology: RunCommand, port: int, monkeypatch: pytest.MonkeyPatch, patch: dict[str, object], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)  # so that it holds where there are more, too
    application = {"name": "small", "args": {"store": "none"}, **patch}

    ended = rayology("serve", "--applications", json.dumps([application]), "--http-options.port", str(port))

    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"http_option": {"port": 8001}}, "serve.yaml: http_option: no such field; did you mean http_options?"),
        ({"http_options": {"prot": 8001}}, "serve.yaml: http_options: prot: no such field; did you mean port?"),
        ({"http_options": {"port": 99999}}, "http_options.port: write a number of at most 65535, found '99999'"),
        (
            {"http_options": {"host": "198.51.100.1"}},
            "requested address; name an address of this machine with --http-opt",
        ),
        ({"http_options": {"host": "::1"}}, "name an address of this machine with --http-options.host, such as 127"),
    ],
)
def test_what_serve_would_pass_over_or_fail_on_later_is_refused_in_one_line(
    rayology: RunCommand, tmp_path: Path, values: dict[str, object], message: str
) -> None:
    (tmp_path / "serve.yaml").write_text(json.dumps({"applications": [{"name": "small"}], **values}))

    ended = rayology("serve", tmp_path / "serve.yaml")

    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("group", "schema"),
    [
        (serve.HttpOptions, HTTPOptionsSchema),
        (serve.Application, ServeApplicationSchema),
        (serve.ServeConfig, ServeDeploySchema),
    ],
)
def test_a_config_takes_all_that_serves_own_takes(group: type[Any], schema: type[Any]) -> None:
    tls = {"root_path", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password"}  # HAProxy does neither
    refused = {"Application": {"host", "port"}, "HttpOptions": tls}.get(group.__name__, set[str]())

    assert {*group.model_fields, *group.others} == schema.model_fields.keys() - refused


def test_a_busy_port_and_a_missing_token_are_one_line_each(
    rayology: RunCommand, application: dict[str, object], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["serve", "--applications", json.dumps([application]), "--http-options.port"]
    monkeypatch.delenv("RAYOLOGY_TOKEN", raising=False)
    without_token = rayology(*asked, str(port))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        busy = rayology(*asked, str(listening.getsockname()[1]))

    for ended, message in [
        (without_token, "RAYOLOGY_TOKEN: not set; export a token"),
        (busy, "Address already in use; end what listens there, or name another port with --http-options.port"),
    ]:
        assert ended.returncode == 2
        assert message in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


class Refusing(socket.socket):
    """A socket of somebody who may not take every port."""

    def bind(self, _: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_port_that_only_the_system_may_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Refusing)  # who runs the tests may be allowed to

    with pytest.raises(ConfigError, match=r"^http_options: 127\.0\.0\.1:80: Permission denied; name a port from 1024"):
        serve.require_free("127.0.0.1", 80)
