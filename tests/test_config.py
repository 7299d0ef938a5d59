"""Laws of the configuration tree."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt

from rayology.config import Config, load, nested
from rayology.errors import ConfigError
from rayology.experiment import Experiment


class Dense(Config):
    """A dense network."""

    kind: Literal["dense"] = "dense"
    """Which."""
    width: PositiveInt = 8
    """Units of a layer."""


class Conv(Config):
    """A convolutional network."""

    kind: Literal["conv"] = "conv"
    """Which."""
    width: PositiveInt = 4
    """Channels."""
    kernel: PositiveInt = 3
    """Side of the kernel."""


class Settings(Config):
    """Some settings."""

    net: Annotated[Dense | Conv, Field(discriminator="kind")] = Dense()
    """The network."""
    lr: PositiveFloat = 0.1
    """The learning rate."""
    place: Path = Path()
    """Where."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("net: {kind: conv, kernel: 5}\nlr: 0.5\n")
    return path


def test_a_flag_beats_the_file_and_the_file_beats_the_default(file: Path) -> None:
    settings = load(Settings, [str(file), "--lr", "0.25"])

    assert settings == Settings(net=Conv(kernel=5), lr=0.25)


def test_a_flag_that_changes_the_kind_drops_the_old_kinds_fields(file: Path) -> None:
    settings = load(Settings, [str(file), "--net.kind", "dense", "--net.width", "3"])

    assert settings.net == Dense(width=3)


def test_a_flag_without_the_kind_speaks_of_the_kind_that_is_there(file: Path) -> None:
    assert load(Settings, [str(file), "--net.kernel", "7"]).net == Conv(kernel=7)


def test_no_arguments_give_the_defaults() -> None:
    assert load(Settings, []) == Settings()


def test_a_patch_keeps_what_it_does_not_name() -> None:
    settings = Settings(net=Conv(kernel=5), lr=0.5)

    assert settings.patched({"net": {"width": 2}}) == Settings(net=Conv(kernel=5, width=2), lr=0.5)


def test_an_empty_patch_changes_nothing() -> None:
    settings = Settings(net=Conv(kernel=5), place=Path("here"))

    assert settings.patched({}) == settings


def test_a_patch_that_names_the_same_kind_keeps_its_fields() -> None:
    assert Settings(net=Conv(kernel=5)).patched({"net": {"kind": "conv", "width": 1}}).net == Conv(kernel=5, width=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nett: {}", r"nett: no such field; did you mean net\?"),
        ("net: {kind: conv, kernels: 5}", r"net.kernels: no such field; did you mean kernel\?"),
        ("net: {kind: dense, kernel: 5}", r"net.kernel: belongs to kind conv; set net.kind"),
        ("net: {kind: dance}", r"net.kind: 'dance' is not known; write one of: 'dense', 'conv'"),
        ("lr: -1", "lr: Input should be greater than 0, found '-1'"),
        ("lr: fast", "lr: .*found 'fast'"),
        ("- 1", "holds a list; write 'key: value' lines"),
        ("lr: [", "not readable as YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_field_and_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message) as raised:
        load(Settings, [str(path)])

    assert str(raised.value).startswith(str(path))


def test_a_missing_file_says_what_the_first_argument_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; the first argument is a YAML file"):
        load(Settings, [str(tmp_path / "none.yaml")])


def test_a_flag_out_of_range_is_a_mistake_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: lr"):
        load(Settings, ["--lr", "0"])


def test_an_unknown_flag_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"^the command line: .*--net\.kernal 1; did you mean kernel\?$"):
        load(Settings, ["--net.kernal", "1"])

    assert not capsys.readouterr().err


def test_a_flag_without_its_value_is_not_taken_for_an_unknown_one() -> None:
    with pytest.raises(ConfigError, match=r"--lr: expected one argument$"):
        load(Settings, ["--lr"])


def test_a_file_after_a_flag_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"wrong\.yaml; the YAML file comes before all flags$"):
        load(Settings, ["--lr", "1", "wrong.yaml"])


@pytest.mark.parametrize("arguments", [["--source.limits", "{max_files: 3"], ["--source.limits={max_files: 3"]])
def test_json_that_is_none_is_named_by_its_flag_and_its_place(arguments: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"^--source\.limits: no JSON from character 2 on .*; write mappings and lists as"
    ):
        load(Experiment, arguments)


def test_help_shows_the_documentation_of_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        load(Settings, ["--help"], program="settings.py")

    assert raised.value.code == 0
    assert "Side of the kernel." in capsys.readouterr().out


def test_help_names_no_default_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Settings, ["--help"], program="settings.py")

    assert "(default: conv)" not in capsys.readouterr().out


def test_a_config_is_frozen_all_the_way_down() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().net.width = 3  # type: ignore[misc] # that is the test


def test_nothing_can_lie_below_a_value() -> None:
    with pytest.raises(ConfigError, match="net has a value already"):
        nested({"net": 1, "net.kind": "conv"})
