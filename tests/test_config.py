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


class Straight(Config):
    """A line."""

    kind: Literal["straight"] = "straight"
    """Which."""
    slope: PositiveFloat = 1.0
    """How steep."""


class Bent(Config):
    """Two lines."""

    kind: Literal["bent"] = "bent"
    """Which."""
    slope: PositiveFloat = 0.1
    """How steep on the left."""
    knot: float = 0.0
    """Where they meet."""


Nonlinearity = Annotated[Straight | Bent, Field(discriminator="kind")]


class Shallow(Config):
    """A shallow network."""

    kind: Literal["shallow"] = "shallow"
    """Which."""
    width: PositiveInt = 8
    """Units of a layer."""
    nonlinearity: Nonlinearity = Bent(slope=0.3)
    """What follows a layer."""


class Deep(Config):
    """A deep network."""

    kind: Literal["deep"] = "deep"
    """Which."""
    width: PositiveInt = 4
    """Units of a layer."""
    layers: PositiveInt = 3
    """How many."""
    nonlinearity: Nonlinearity = Straight(slope=0.7)
    """What follows a layer."""


Network = Annotated[Shallow | Deep, Field(discriminator="kind")]


class Judge(Config):
    """A model whose network is not the default one of its kind."""

    kind: Literal["judge"] = "judge"
    """Which."""
    network: Network = Deep(layers=5, nonlinearity=Bent(knot=0.5))
    """The network."""
    name: str
    """A value that must be given."""


class Maker(Config):
    """A model whose network is another default still."""

    kind: Literal["maker"] = "maker"
    """Which."""
    network: Network = Shallow(width=16)
    """The network."""
    latents: PositiveInt = 64
    """Numbers to start from."""


class Limits(Config):
    """What is allowed."""

    network: Network = Shallow(width=2)
    """The largest network."""


class Tree(Config):
    """Unions in unions, whose defaults are not those of the kinds."""

    model: Annotated[Judge | Maker, Field(discriminator="kind")] = Maker(latents=7, network=Shallow(width=32))
    """The model."""
    limits: Limits = Limits()
    """The limits."""
    labels: dict[str, int] = Field(default_factory=lambda: {"a": 1})
    """Numbers by name."""


class Optional(Config):
    """A group that need not be there."""

    limits: Limits | None = None
    """The limits, if there are any."""


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


def test_a_new_kind_starts_from_the_default_of_the_field_that_holds_it() -> None:
    tree = Tree().patched({"model": {"kind": "judge", "name": "x", "network": {"layers": 9}}})

    assert tree.model == Judge(name="x", network=Deep(layers=9, nonlinearity=Bent(knot=0.5)))


def test_a_kind_that_comes_back_starts_from_the_default_again() -> None:
    deep = Tree().patched({"model": {"network": {"kind": "deep", "layers": 2}}})

    assert deep.model == Maker(latents=7, network=Deep(layers=2))
    assert deep.patched({"model": {"network": {"kind": "shallow"}}}).model == Maker(latents=7)


def test_a_group_that_was_not_there_starts_from_its_defaults() -> None:
    limited = Optional().patched({"limits": {"network": {"nonlinearity": {"slope": 2.0}}}})

    assert limited.limits == Limits(network=Shallow(width=2, nonlinearity=Bent(slope=2.0)))
    assert limited.patched({"limits": None}) == Optional()


def test_a_mapping_is_added_to() -> None:
    assert Tree().patched({"labels": {"kind": 2}}).labels == {"a": 1, "kind": 2}
    assert load(Tree, ["--labels", '{"b": 2}']).labels == {"a": 1, "b": 2}


def test_naming_a_default_keeps_the_models_own_default_of_another_field() -> None:
    assert load(Experiment, ["--model.kind", "gan", "--model.backbone.width", "16"]) == load(
        Experiment, ["--model.kind", "gan"]
    )


def test_a_value_that_a_new_kind_needs_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: model\.name: needs a value$"):
        load(Tree, ["--model.kind", "judge"])


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
