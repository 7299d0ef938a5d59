"""One frozen tree of values: read from a file, changed by flags and patches, marked for search."""

import difflib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined, to_jsonable_python
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict

from rayology.errors import ConfigError
from rayology.usage import Flag, Section, lay_out, type_text, value_text

__all__ = [
    "Choice",
    "Config",
    "Leaf",
    "Range",
    "alternatives",
    "is_open",
    "kinds_of",
    "leaves",
    "load",
    "nested",
    "path_of",
    "validated",
]

HELP = {"-h", "--help"}

Patch = Mapping[str, object]
C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Range:
    """Mark a number as searchable between two bounds, both included."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, init=False)
class Choice:
    """Mark a field as searchable among values."""

    values: tuple[str | float | bool, ...]

    def __init__(self, *values: str | float | bool) -> None:
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


class Config(BaseModel):
    """A frozen, closed group of values; the string below a field is its documentation everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    def patched(self, patch: Patch) -> Self:
        """Return a copy with a nested patch applied, validated as a whole.

        A patch that changes a ``kind`` drops the old kind's values: the new kind starts from the default of the field
        that holds it if that default has this kind, else from the kind's own defaults.

        Raises:
            ConfigError: a key is unknown or a value is out of range.
        """
        return validated(type(self), _merged(type(self), self.model_dump(mode="json"), patch), where="patch")


@dataclass(frozen=True)
class Leaf:
    """A value in a tree of configs, under one kind of each union above it."""

    name: str
    """Its path; behind each colon a kind that it belongs to: ``model:gan.backbone.width`` is open to a GAN alone."""
    info: FieldInfo
    default: object
    """What it is if only its kinds are chosen."""
    section: str
    """What the docstrings say of the group that holds it."""
    kinds: Mapping[str, type[Config]] = field(default_factory=dict)
    """The alternatives if it is the kind of a union."""

    @property
    def type_text(self) -> str:
        """The values that it takes, in words."""
        return " | ".join(self.kinds) or type_text(self.info.annotation, self.info.metadata)


def load(config: type[C], arguments: Sequence[str], *, program: str = "rayology") -> C:
    """Read ``[FILE.yaml] [--path.to.field VALUE ...]`` as a config; a flag beats the file, the file beats a default.

    Raises:
        ConfigError: the file is missing or is not a YAML mapping, a key or flag is unknown, or a value is out of range.
        SystemExit: ``--help`` was asked for.
    """
    words = [word for word in arguments if word not in HELP]
    asks_help = len(words) < len(arguments)
    file = Path(words[0]) if words and not words[0].startswith("-") else None
    flags = _read_flags(config, words[1:] if file else words)
    values = _merged(config, {}, _read_yaml(file)) if file else {}
    if file and not asks_help:
        _check_file(config, values, file)
    values = _merged(config, values, flags)
    if asks_help:
        sys.stdout.write(_usage(config, values, program=program))
        raise SystemExit(0)
    return validated(config, values, where="the command line")


def alternatives(annotation: object) -> tuple[type[Config], ...]:
    """Return the config classes that a field's annotation allows: one, or those of a union."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Config) else ()
    if get_origin(annotation) not in {Annotated, Union, UnionType}:
        return ()
    return tuple(config for part in get_args(annotation) for config in alternatives(part))


def leaves(
    config: type[Config], *, prefix: str = "", default: Config | None = None, section: str = ""
) -> Iterator[Leaf]:
    """Yield every value of a config, in all kinds; a union's kind before the values of each kind."""
    for key, info in config.model_fields.items():
        name, own = f"{prefix}{key}", info.get_default(call_default_factory=True)
        value = own if default is None else getattr(default, key)
        match alternatives(info.annotation):
            case () if key == "kind" and re.search(r":\w+\.$", prefix):
                continue  # the union has said it
            case ():
                yield Leaf(name, info, value, section)
            case (group,):
                start = value if isinstance(value, group) else None
                yield from leaves(group, prefix=f"{name}.", default=start, section=_paragraph(info.description))
            case groups:
                kinds = {str(_kind_of(group)): group for group in groups}
                kind = getattr(value, "kind", value)
                tag = kinds.get(str(kind), groups[0]).model_fields["kind"]
                yield Leaf(f"{name}.kind", tag, kind, _paragraph(info.description), kinds)
                for kind, group in kinds.items():
                    start = next((start for start in (value, own) if type(start) is group), None)
                    about = _paragraph(group.__doc__)
                    yield from leaves(group, prefix=f"{name}:{kind}.", default=start, section=about)


def path_of(name: str) -> str:
    """Return the path of a leaf, which names no kind.

    >>> path_of("model:vae.backbone.width")
    'model.backbone.width'
    """
    return re.sub(r":\w+", "", name)


def kinds_of(name: str) -> dict[str, str]:
    """Return the kinds that a leaf's name tells, by the names of the leaves that choose them.

    >>> kinds_of("model:vae.backbone:resnet.width")
    {'model.kind': 'vae', 'model:vae.backbone.kind': 'resnet'}
    """
    return {f"{name[: colon.start()]}.kind": colon[1] for colon in re.finditer(r":(\w+)", name)}


def is_open(name: str, chosen: Mapping[str, object]) -> bool:
    """Tell whether every kind that a leaf's name tells was chosen."""
    return all(chosen.get(union) == kind for union, kind in kinds_of(name).items())


def nested(flat: Mapping[str, object]) -> dict[str, object]:
    """Turn dotted paths into a nested patch.

    >>> nested({"model.kind": "vae", "model.beta": 2.0, "seed": 1})
    {'model': {'kind': 'vae', 'beta': 2.0}, 'seed': 1}
    """
    tree: dict[str, object] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        branch = tree
        for parent in parents:
            child = branch.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{path}: {parent} has a value already, so nothing can lie below it")
            branch = child
        branch[leaf] = value
    return tree


def validated(config: type[C], values: Patch, *, where: str) -> C:
    """Return the values as a config.

    Raises:
        ConfigError: names ``where`` and, for each mistake, the field, what was found and what is expected.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise _refusal(config, error.errors(), where) from None


def _check_file(config: type[Config], values: Patch, file: Path) -> None:
    """Refuse what is wrong in a file itself; a flag may give what it lacks."""
    try:
        config.model_validate(values)
    except ValidationError as error:
        if wrong := [mistake for mistake in error.errors() if mistake["type"] != "missing"]:
            raise _refusal(config, wrong, str(file)) from None


def _refusal(config: type[Config], mistakes: Sequence[ErrorDetails], where: str) -> ConfigError:
    return ConfigError(f"{where}: {'; '.join(_explained(config, mistake) for mistake in mistakes)}")


def _merged(config: type[Config] | None, old: Patch, patch: Patch) -> dict[str, object]:
    """Lay a patch over the values of a config; what they do not name has its default."""
    merged = dict(old)
    for key, value in patch.items():
        info = config.model_fields.get(key) if config else None
        merged[key] = _overlaid(info, merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def _overlaid(info: FieldInfo | None, old: object, patch: Patch) -> dict[str, object]:
    """Lay a patch over the value of a field; another kind starts from the field's default if it has this kind."""
    groups = alternatives(info.annotation) if info else ()
    default = to_jsonable_python(info.get_default(call_default_factory=True)) if info and not info.is_required() else {}
    starts = [start for start in (old, default) if isinstance(start, Mapping)] or [{}]
    if not groups:
        return _merged(None, starts[0], patch)
    kind = patch.get("kind", starts[0].get("kind"))
    start = next((start for start in starts if start.get("kind") == kind), {"kind": kind})
    return _merged(next((group for group in groups if _kind_of(group) == kind), None), start, patch)


def _kind_of(config: type[Config]) -> object:
    return config.model_fields["kind"].default if "kind" in config.model_fields else None


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; the first argument is a YAML file of the experiment") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{file}: holds a {type(tree).__name__}; write 'key: value' lines")
    return tree or {}


def _usage(config: type[Config], values: Patch, *, program: str) -> str:
    """Return the help: the flags of the kinds that the values choose, and which flag shows those of another kind."""
    chosen: dict[str, object] = {}
    groups: dict[str, list[Leaf]] = {"": []}
    for leaf in leaves(config):
        if not is_open(leaf.name, chosen):
            continue
        if leaf.kinds:
            chosen[leaf.name] = _chosen_kind(leaf, values)
        name = leaf.name.rpartition(".")[0]
        for end in re.finditer(r"[.:]|$", name):  # so that a group comes before those in it
            groups.setdefault(name[: end.start()], [])
        groups[name].append(leaf)
    opening = [
        f"usage: {program} [FILE.yaml] [--path.to.field VALUE ...]",
        _paragraph(config.__doc__),
        "A flag beats the file, the file beats the default. Lists, mappings and groups are JSON; mappings add up.",
    ]
    sections = [_section(name, group, chosen) for name, group in groups.items() if group]
    return lay_out(opening, sections, width=min(max(shutil.get_terminal_size().columns, 60), 120))


def _section(name: str, group: Sequence[Leaf], chosen: Mapping[str, object]) -> Section:
    """Return the part of the help that shows one group."""
    union, _, kind = name.rpartition(":")
    title = f"With {path_of(union)}.kind = {kind}" if union and "." not in kind else path_of(name)
    section = Section(f"{title}: {group[0].section}" if title else "")
    for leaf in group:
        flag, type_text = f"--{path_of(leaf.name).replace('_', '-')}", leaf.type_text
        if leaf.kinds:
            kinds = {kind: config for kind, config in leaf.kinds.items() if kind != chosen[leaf.name]}
            section.others.update({f"{flag} {kind}": _paragraph(config.__doc__) for kind, config in kinds.items()})
        if leaf.info.annotation is bool:
            flag, type_text = f"{flag}, --no-{flag[2:]}", ""
        tried = [f"; a sweep tries {mark}" for mark in leaf.info.metadata if isinstance(mark, Range | Choice)]
        default = "required" if leaf.default is PydanticUndefined else f"default: {value_text(leaf.default)}"
        section.flags.append(
            Flag(flag, type_text, "".join([default, *tried]), " ".join((leaf.info.description or "").split()))
        )
    return section


def _chosen_kind(leaf: Leaf, values: Patch) -> object:
    value: object = values
    for key in path_of(leaf.name).split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is not None and not (isinstance(value, str) and value in leaf.kinds):
        raise ConfigError(f"{path_of(leaf.name)}: {value!r} is not known; write one of: {', '.join(leaf.kinds)}")
    return value or leaf.default


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


def _read_flags(config: type[Config], arguments: Sequence[str]) -> dict[str, object]:
    """Return only what the command line sets, so that it can be laid over a file."""
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
    except ValueError as error:  # a word that stands for a mapping or a list and is no JSON
        complaint = _wrong_json(arguments) or f"a flag's value cannot be read ({error})"
        raise ConfigError(f"{complaint}; write mappings and lists as JSON") from None
    except SystemExit:
        _, _, complaint = said.getvalue().strip().rpartition("error: ")
        flag = next((word for word in complaint.split() if word.startswith("--")), "")
        is_unknown = complaint.startswith("unrecognized")
        near = _near(flag.rpartition(".")[2].strip("-").replace("-", "_"), config) if is_unknown else ""
        if is_unknown and complaint.endswith((".yaml", ".yml")):
            near = "; the YAML file comes before all flags"
        raise ConfigError(f"the command line: {complaint}{near}") from None


def _wrong_json(arguments: Sequence[str]) -> str:
    """Say which flag's value starts as JSON and does not go on so; an empty string where none does."""
    words = [
        word for argument in arguments for word in (argument.split("=", 1) if argument[:2] == "--" else [argument])
    ]
    for flag, value in pairwise(words):
        if flag.startswith("--") and value.startswith(("{", "[")):
            try:
                json.loads(value)
            except json.JSONDecodeError as error:
                return f"{flag}: no JSON from character {error.pos + 1} on ({error.msg})"
    return ""


def _explained(config: type[Config], mistake: ErrorDetails) -> str:
    """Say which field is wrong, what was found, and what to write instead."""
    path, kinds = _field_of(config, mistake["loc"])
    name = ".".join(path) or "the whole"
    match mistake["type"]:
        case "extra_forbidden":
            others = [kind for kind, other in kinds.items() if path[-1] in other.model_fields]
            if others:
                return f"{name}: belongs to kind {' or '.join(others)}; set {'.'.join([*path[:-1], 'kind'])}"
            return f"{name}: no such field{_near(path[-1], config)}"
        case "missing":
            return f"{name}: needs a value"
        case "union_tag_invalid":
            tag, expected = mistake["ctx"]["tag"], mistake["ctx"]["expected_tags"]
            return f"{name}.kind: {tag!r} is not known; write one of: {expected}"
        case "value_error":
            return f"{name}: {mistake['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{name}: {mistake['msg']}, found {str(mistake['input'])[:80]!r}"


def _field_of(config: type[Config], location: Sequence[int | str]) -> tuple[list[str], dict[str, type[Config]]]:
    """Return a field's path as it is written, which names no kind, and the kinds that its group could have."""
    path: list[str] = []
    kinds: dict[str, type[Config]] = {}
    found: tuple[type[Config], ...] = (config,)
    for part in map(str, location):
        if len(found) > 1:
            kinds = {str(each.model_fields["kind"].default): each for each in found}
            found = (kinds[part],) if part in kinds else ()
            continue
        kinds = kinds if len(found) == 1 and found[0] in kinds.values() else {}
        path.append(part)
        field = found[0].model_fields.get(part) if found else None
        found = alternatives(field.annotation) if field else ()
    return path, kinds


def _near(name: str, config: type[Config]) -> str:
    near = difflib.get_close_matches(name, sorted(_field_names(config)), n=1)
    return f"; did you mean {near[0]}?" if near and near[0] != name else "; --help lists what there is"


def _field_names(annotation: object) -> set[str]:
    if not (isinstance(annotation, type) and issubclass(annotation, Config)):
        return {name for part in get_args(annotation) for name in _field_names(part)}
    fields = annotation.model_fields
    return set(fields).union(*(_field_names(each.annotation) for each in fields.values()))
