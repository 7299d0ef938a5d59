"""Laws of the help."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt

from rayology.command_line import load
from rayology.config import Choice, Config, Range, kinds_of, leaves, path_of
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.usage import type_text, typed

Help = Callable[..., str]


class Small(Config):
    """A small network.

    With a paragraph that help leaves out.
    """

    kind: Literal["small"] = "small"
    """Which network."""
    width: Annotated[PositiveInt, Choice(4, 8)] = 4
    """Units of a layer."""


class Large(Config):
    """A large network."""

    kind: Literal["large"] = "large"
    """Which network."""
    width: PositiveInt = 512
    """Channels of a
    layer."""
    inner: Small = Small(width=8)
    """The network inside."""
    path: str
    """Where its weights are."""


class Settings(Config):
    """Some settings."""

    net: Annotated[Small | Large, Field(discriminator="kind")] = Small(width=5)
    """The network."""
    max_rate: Annotated[float, Range(0.1, 10, log=True)] = 1.0
    """The highest rate."""
    is_fast: bool = False
    """Whether to hurry."""


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    monkeypatch.setenv("COLUMNS", "80")

    def show(*arguments: str, config: type[Config] = Settings) -> str:
        with pytest.raises(SystemExit) as raised:
            load(config, arguments, program="settings.py")
        assert raised.value.code == 0
        return capsys.readouterr().out

    return show


def test_help_shows_the_kind_that_is_the_default_and_names_the_others(shown: Help) -> None:
    assert (
        shown("--help")
        == """\
usage: settings.py [FILE.yaml] [--path.to.field VALUE ...]

Some settings.

A flag beats the file, the file beats the default. Lists, mappings and groups
are JSON; mappings add up.

  --max-rate  float  (default: 1.0; a sweep tries 0.1 to 10)
      The highest rate.
  --is-fast, --no-is-fast  (default: false)
      Whether to hurry.

net: The network.
  --net.kind  small | large  (default: small)
      Which network.
  The fields of another kind are shown by --help with:
    --net.kind large  A large network.

With net.kind = small: A small network.
  --net.width  int above 0  (default: 5; a sweep tries 4, 8)
      Units of a layer.
"""
    )


def test_help_opens_with_what_a_command_says_of_itself_and_its_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(Settings, ["--help"], program="rayology set", about="Set it.\n\nrayology set --net.width 3\n")

    usage, sentence, _, examples, *_ = capsys.readouterr().out.split("\n\n")
    assert (usage, sentence) == ("usage: rayology set [FILE.yaml] [--path.to.field VALUE ...]", "Set it.")
    assert examples == "  rayology set --net.width 3"


def test_help_shows_the_kind_that_the_flags_choose_with_its_own_texts_and_defaults(shown: Help) -> None:
    text = shown("--help", "--net.kind", "large")

    assert "--net.width  int above 0  (default: 512)\n      Channels of a layer.\n" in text
    assert "--net.path  text  (required)" in text
    assert "--net.inner.width  int above 0  (default: 8; a sweep tries 4, 8)" in text
    assert "--net.kind small  A small network." in text
    assert text.index("--net.path") < text.index("net.inner: The network inside."), "a group comes before those in it"


def test_help_shows_the_kind_that_the_file_chooses(shown: Help, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("net: {kind: large}")

    assert "With net.kind = large" in shown("--help", str(file))
    assert "With net.kind = large" in shown(str(file), "-h")
    assert "With net.kind = small" in shown(str(file), "--net.kind", "small", "--help")


def test_help_of_what_is_not_a_kind_says_so(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("net: {kind: [large]}")

    with pytest.raises(ConfigError, match=r"^net\.kind: \['large'\] is not known; write one of: small, large$"):
        load(Settings, ["--help", str(file)])


def test_help_of_an_unknown_kind_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^net\.kind: 'huge' is not known; write one of: small, large$"):
        load(Settings, ["--help", "--net.kind", "huge"])


def test_a_union_without_a_default_shows_all_its_kinds(shown: Help) -> None:
    class Undecided(Config):
        """Nothing is decided."""

        net: Annotated[Small | Large, Field(discriminator="kind")]
        """The network."""

    text = shown("--help", config=Undecided)

    assert "--net.kind  small | large  (required)" in text
    assert "--net.kind small" in text
    assert "--net.kind large" in text
    assert "--net.width" not in text


def test_help_shows_that_a_key_of_a_mapping_is_a_flag(shown: Help) -> None:
    text = shown("--help", config=Experiment)

    assert "--init, --init.KEY  {text: text}  (default: {})" in text
    assert "--search.narrow  {text: [float | text, ...]}  (default: {})" in text


def test_a_flag_without_documentation_takes_one_line(shown: Help) -> None:
    class Terse(Config):
        """One value."""

        first: int = 1
        second: int = 2

    assert "  --first  int  (default: 1)\n  --second  int  (default: 2)\n" in shown("--help", config=Terse)


@pytest.mark.parametrize("columns", [40, 80, 120, 400])
def test_no_line_of_help_is_too_long_to_read(shown: Help, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    lines = shown("--help", config=Experiment).splitlines()

    assert max(map(len, lines)) <= max(60, min(columns, 120))


@pytest.mark.slow
def test_help_documents_every_flag_of_every_kind(shown: Help) -> None:
    kinds = [{**kinds_of(leaf.name), leaf.name: kind} for leaf in leaves(Experiment) for kind in leaf.kinds]

    texts = [
        shown(
            "--help",
            *(word for name, kind in chosen.items() for word in (f"--{path_of(name)}", kind)),
            config=Experiment,
        )
        for chosen in kinds
    ]
    flags = {flag for text in texts for flag in re.findall(r"^  (--[\w.-]+)", text, flags=re.MULTILINE)}

    assert flags == {f"--{path_of(leaf.name).replace('_', '-')}" for leaf in leaves(Experiment)}


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[int, Field(ge=8, le=64, multiple_of=8)], "int from 8 to 64 divisible by 8"),
        (Annotated[float, Field(ge=0)], "float at least 0"),
        (Annotated[float, Field(gt=0, lt=1)], "float above 0 below 1"),
        (Annotated[str, Field(pattern="^a$")], "text matching ^a$"),
        (Path | None, "path | null"),
        (Literal["a", "b"], "a | b"),
        (tuple[PositiveInt, ...], "[int above 0, ...]"),
        (tuple[int, str], "[int, text]"),
        (dict[str, tuple[float | str, ...]], "{text: [float | text, ...]}"),
        (tuple[Small, ...], "[{kind: small, width: int above 0}, ...]"),
        (bool, "true | false"),
    ],
)
def test_a_type_is_said_in_words(annotation: object, text: str) -> None:
    assert type_text(annotation) == text


def test_a_hint_names_a_program_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    without = typed("publish", "--bundle", "a b")
    (tmp_path / "rayology").touch(mode=0o700)

    assert without == "python -m rayology publish --bundle 'a b'"
    assert typed("tune") == "rayology tune"
