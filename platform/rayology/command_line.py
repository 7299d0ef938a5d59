"""The command line of a config: a YAML file, flags over it, help, and what to write instead of a flag that is wrong."""

import difflib
import inspect
import io
import json
import re
import shutil
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict

from rayology.config import Choice, Config, Leaf, Range, check, is_open, leaves, merged, nested, path_of, validated
from rayology.errors import ConfigError
from rayology.usage import Flag, Section, lay_out, paragraph, value_text

__all__ = ["load"]

HELP = {"-h", "--help"}

C = TypeVar("C", bound=Config)
Values = Mapping[str, object]


def load(config: type[C], arguments: Sequence[str], *, program: str = "rayology", about: str = "") -> C:
    """Read ``[FILE.yaml] [--path.to.field VALUE ...]`` as a config; a flag beats the file, the file beats a default.

    Args:
        config: the class to read.
        arguments: the words of the command line.
        program: what the help calls the command.
        about: a docstring that opens the help, its examples included; that of the config if it is empty.

    Raises:
        ConfigError: the file is missing or is not a YAML mapping, a key or flag is unknown, or a value is out of range.
        SystemExit: ``--help`` was asked for.
    """
    words = [word for word in arguments if word not in HELP]
    asks_help = len(words) < len(arguments)
    file = Path(words.pop(0)) if words and not words[0].startswith("-") else None
    values = merged(config, {}, _read_yaml(file)) if file else {}
    flags = _read_flags(config, [*_with_mappings(config, words)], values)
    if asks_help:
        sys.stdout.write(_usage(config, merged(config, values, flags), program=program, about=about))
        raise SystemExit(0)
    if file:
        check(config, values, where=str(file))
    return validated(config, merged(config, values, flags), where="the command line")


class _OnceLoader(yaml.SafeLoader):
    """Read YAML whose keys stand once in their group; others would be lost without a word."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - as PyYAML has it
    ) -> dict[Hashable, object]:
        """Return a group.

        Raises:
            yaml.YAMLError: names a key that stands twice, with its line.
        """
        keys = [key.value for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                line = node.value[number][0].start_mark.line + 1
                raise yaml.YAMLError(f"{key!r} stands twice, the second time in line {line}; write it once")
        found: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return found


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), _OnceLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; the first argument is a YAML file of settings; flags begin with --"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else "not text"
        raise ConfigError(f"{file}: is {found}; the first argument is a YAML file of settings") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        raise ConfigError(f"{file}: is empty; write 'key: value' lines, or leave the file out for the defaults")
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: holds a {type(tree).__name__}; write 'key: value' lines")
    return tree


def _usage(config: type[Config], values: Values, *, program: str, about: str) -> str:
    """Return the help: the flags of the kinds that the values choose, and which flag shows those of another kind."""
    chosen: dict[str, object] = {}
    groups: dict[str, list[Leaf]] = {"": []}
    for leaf in _opened(config, values, chosen):
        name = leaf.name.rpartition(".")[0]
        for end in re.finditer(r"[.:]|$", name):  # so that a group comes before those in it
            groups.setdefault(name[: end.start()], [])
        groups[name].append(leaf)
    sentence, _, examples = inspect.cleandoc(about or config.__doc__ or "").partition("\n\n")
    opening = [f"usage: {program} [FILE.yaml] [--path.to.field VALUE ...]", paragraph(sentence)]
    closing = "A flag beats the file, the file beats the default. Lists, mappings and groups are JSON; mappings add up."
    sections = [_section(name, group, chosen) for name, group in groups.items() if group]
    width = min(max(shutil.get_terminal_size().columns, 60), 120)
    return lay_out([*opening, closing], sections, width=width, examples=examples.splitlines() if about else [])


def _opened(config: type[Config], values: Values, chosen: dict[str, object]) -> Iterator[Leaf]:
    """Yield the leaves of the kinds that the values choose, and note these kinds in ``chosen``."""
    for leaf in leaves(config):
        if is_open(leaf.name, chosen):
            if leaf.kinds:
                chosen[leaf.name] = _chosen_kind(leaf, values)
            yield leaf


def _section(name: str, group: Sequence[Leaf], chosen: Values) -> Section:
    """Return the part of the help that shows one group."""
    union, _, kind = name.rpartition(":")
    title = f"With {path_of(union)}.kind = {kind}" if union and "." not in kind else path_of(name)
    section = Section(f"{title}: {group[0].section}" if title else "")
    for leaf in group:
        flag, type_text = _flag(leaf), leaf.type_text
        if leaf.kinds:
            kinds = {kind: config for kind, config in leaf.kinds.items() if kind != chosen[leaf.name]}
            section.others.update({f"{flag} {kind}": paragraph(config.__doc__) for kind, config in kinds.items()})
        if leaf.info.annotation is bool:
            flag, type_text = f"{flag}, --no-{flag[2:]}", ""
        if leaf.has_free_keys:
            flag = f"{flag}, {flag}.KEY"
        tried = [f"; a sweep tries {mark}" for mark in leaf.info.metadata if isinstance(mark, Range | Choice)]
        default = "required" if leaf.default is PydanticUndefined else f"default: {value_text(leaf.default)}"
        section.flags.append(
            Flag(flag, type_text, "".join([default, *tried]), " ".join((leaf.info.description or "").split()))
        )
    return section


def _chosen_kind(leaf: Leaf, values: Values) -> object:
    value: object = values
    for key in path_of(leaf.name).split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is not None and not (isinstance(value, str) and value in leaf.kinds):
        raise ConfigError(f"{path_of(leaf.name)}: {value!r} is not known; write one of: {', '.join(leaf.kinds)}")
    return value or leaf.default


def _flag(leaf: Leaf) -> str:
    return f"--{path_of(leaf.name).replace('_', '-')}"


def _with_mappings(config: type[Config], words: Iterable[str]) -> Iterator[str]:
    """Write what is set below a mapping, ``--init.model PLACE``, as JSON of the mapping, as it is read."""
    mappings = [_flag(leaf) for leaf in leaves(config) if leaf.has_free_keys]
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        mapping = next((name for name in mappings if flag.startswith(f"{name}.")), None)
        if mapping and not equals and (value := next(rest, "--")).startswith("--"):
            raise ConfigError(f"the command line: {flag}: expected one argument")
        yield from (mapping, json.dumps({flag.removeprefix(f"{mapping}."): value})) if mapping else (word,)


def _read_flags(config: type[C], arguments: Sequence[str], values: Values) -> dict[str, object]:
    """Return only what the command line sets, so that it can be laid over the values of a file."""
    if not arguments:
        return {}
    settings = type(
        config.__name__,
        (BaseSettings, config),
        {"__doc__": config.__doc__, "__module__": config.__module__, "model_config": SettingsConfigDict(frozen=True)},
    )
    said = io.StringIO()
    try:
        with redirect_stderr(said):  # where argparse prints the whole usage before the one line that counts
            source: CliSettingsSource[object] = CliSettingsSource(
                settings, cli_parse_args=list(arguments), cli_kebab_case=True, cli_implicit_flags=True
            )
            return dict(source())
    except ValueError as error:  # a word that stands for a mapping or a list and is not JSON
        mistakes = [*_wrong_json(config, _pairs(arguments)), f"{error}; a group takes JSON, or flags for its fields"]
        raise ConfigError(mistakes[0]) from None
    except SystemExit:
        _, _, complaint = said.getvalue().strip().rpartition("error: ")
        if not complaint.startswith("unrecognized"):
            raise ConfigError(f"the command line: {complaint}") from None
        unknown = complaint.partition(": ")[2].split()[0]
        if not unknown.startswith("-"):
            raise ConfigError(f"the command line: {unknown} is not a flag{_where_it_belongs(unknown)}") from None
        kinds = nested({path: kind for flag, kind in _pairs(arguments) if (path := _path(flag)).endswith(".kind")})
        near = _near(unknown.partition("=")[0], config, merged(config, values, kinds))
        raise ConfigError(f"the command line: there is no flag {unknown.partition('=')[0]}{near}") from None


def _where_it_belongs(word: str) -> str:
    if word.endswith((".yaml", ".yml")):
        return "; the YAML file comes before all flags"
    if word in {"true", "false"}:
        return "; a flag of true or false stands alone, as --flag or --no-flag"
    return "; a flag takes one value, and text with spaces stands in quotes"


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return each flag with the word after it, which may be its value."""
    words = [
        word for argument in arguments for word in (argument.split("=", 1) if argument[:2] == "--" else [argument])
    ]
    return [pair for pair in pairwise(words) if pair[0].startswith("--")]


def _path(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _wrong_json(config: type[Config], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Say which flags' values should be JSON and are not, and what to write instead."""
    types = {_flag(leaf): leaf.type_text for leaf in leaves(config)}
    return [
        f"{flag}: {value[:40]!r} is not JSON{place}; write {types.get(flag, 'the group')} as JSON"
        for flag, value in pairs
        if value.startswith(("{", "[")) or types.get(flag, "").startswith(("{", "["))
        if (place := _where_json_ends(value))
    ]


def _where_json_ends(text: str) -> str:
    """Say where a text stops being JSON; an empty string if it is JSON to its end."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f" from character {error.pos + 1} on ({error.msg})"
    return ""


def _near(flag: str, config: type[Config], values: Values) -> str:
    """Suggest a flag that is spelt nearly so, of the kinds that are chosen before one of another kind."""
    wanted, last = flag.replace("_", "-"), flag.rpartition(".")[2].strip("-").replace("_", "-")
    chosen, known = [_flag(leaf) for leaf in _opened(config, values, {})], [_flag(leaf) for leaf in leaves(config)]
    by_name = {each.rpartition(".")[2].strip("-"): each for each in reversed([*chosen, *known])}
    near = [
        *difflib.get_close_matches(wanted, chosen, n=1, cutoff=0.9),
        *difflib.get_close_matches(wanted, known, n=1, cutoff=0.9),
        *difflib.get_close_matches(wanted, chosen, n=1, cutoff=0.75),
        *(by_name[name] for name in difflib.get_close_matches(last, by_name, n=1)),
    ]
    return f"; did you mean {near[0]}?" if near else "; --help lists what there is"
