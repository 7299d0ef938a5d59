"""One frozen tree of values: read from a file, changed by flags and patches, marked for search."""

import difflib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict

from rayology.errors import ConfigError

__all__ = ["Choice", "Config", "Range", "alternatives", "load", "nested", "validated"]

Patch = Mapping[str, object]
C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Range:
    """Mark a number as searchable between two bounds, both included."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, init=False)
class Choice:
    """Mark a field as searchable among values."""

    values: tuple[str | float | bool, ...]

    def __init__(self, *values: str | float | bool) -> None:
        object.__setattr__(self, "values", values)


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


def load(config: type[C], arguments: Sequence[str], *, program: str = "rayology") -> C:
    """Read ``[FILE.yaml] [--path.to.field VALUE ...]`` as a config; a flag beats the file, the file beats a default.

    Raises:
        ConfigError: the file is not there or no YAML mapping, a key or flag is unknown, or a value is out of range.
        SystemExit: ``--help`` was asked for.
    """
    file = Path(arguments[0]) if arguments and not arguments[0].startswith("-") else None
    flags = _read_flags(config, arguments[1:] if file else arguments, program=program)
    values = _merged(config, {}, _read_yaml(file)) if file else {}
    if file:
        validated(config, values, where=str(file))
    return validated(config, _merged(config, values, flags), where="the command line")


def alternatives(annotation: object) -> tuple[type[Config], ...]:
    """Return the config classes that a field's annotation allows: one, or those of a union."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Config) else ()
    if get_origin(annotation) not in {Annotated, Union, UnionType}:
        return ()
    return tuple(config for part in get_args(annotation) for config in alternatives(part))


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
        mistakes = "; ".join(_explained(config, mistake) for mistake in error.errors())
        raise ConfigError(f"{where}: {mistakes}") from None


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


class _Flags(CliSettingsSource[object]):
    """Flags whose help names no default for ``kind``: pydantic-settings would name that of the last in a union."""

    def _help_format(
        self,
        field_name: str,
        field_info: FieldInfo,
        model_default: object,
        is_model_suppressed: bool,  # noqa: FBT001 - pydantic-settings' own signature
        env_var_names: tuple[str, ...] = (),
    ) -> str:
        if field_name == "kind":
            return field_info.description or ""
        return super()._help_format(field_name, field_info, model_default, is_model_suppressed, env_var_names)


def _read_flags(config: type[Config], arguments: Sequence[str], *, program: str) -> dict[str, object]:
    """Return only what the command line sets, so that it can be laid over a file."""
    settings = type(
        config.__name__,
        (BaseSettings, config),
        {"__doc__": config.__doc__, "__module__": config.__module__, "model_config": SettingsConfigDict(frozen=True)},
    )
    said = io.StringIO()
    try:
        with redirect_stderr(said):  # where argparse prints the whole usage before the one line that counts
            source = _Flags(
                settings,
                cli_parse_args=list(arguments),
                cli_kebab_case=True,
                cli_implicit_flags=True,
                cli_prog_name=program,
            )
            return dict(source())
    except ValueError as error:  # a word that stands for a mapping or a list and is no JSON
        complaint = _wrong_json(arguments) or f"a flag's value cannot be read ({error})"
        raise ConfigError(f"{complaint}; write mappings and lists as JSON") from None
    except SystemExit as ended:
        if not ended.code:
            raise
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
