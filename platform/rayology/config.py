"""One frozen tree of values: read from a file, changed by flags and patches, marked for search."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Annotated, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rayology.errors import ConfigError
from rayology.usage import paragraph, type_text

__all__ = [
    "Choice",
    "Config",
    "Leaf",
    "Range",
    "alternatives",
    "check",
    "differing",
    "is_open",
    "kinds_of",
    "leaves",
    "merged",
    "nested",
    "path_of",
    "validated",
]

Patch = Mapping[str, object]
EXPECTED: Mapping[str, str] = {
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("int_from_float", "int_parsing", "int_type"), "a whole number"),
    "finite_number": "a {finite} number",
    **dict.fromkeys(("path_type", "string_too_short", "string_type"), "text"),
    "dict_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "{text}",
    "too_long": "at most {max_length} values",
    "tuple_type": "a list",
}
"""What to write instead, by pydantic's name of the mistake, with the limits that it tells."""
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

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def patched(self, patch: Patch) -> Self:
        """Return a copy with a nested patch applied, validated as a whole.

        A patch that changes a ``kind`` drops the old kind's values: the new kind starts from the default of the field
        that holds it if that default has this kind, else from the kind's own defaults.

        Raises:
            ConfigError: a key is unknown or a value is out of range.
        """
        return validated(
            type(self), merged(type(self), self.model_dump(mode="json", by_alias=True), patch), where="patch"
        )


@dataclass(frozen=True)
class Leaf:
    """A value in a tree of configs, under one kind of each union above it."""

    name: str
    """Its path; behind each colon a kind that it belongs to: ``model:gan.critic.width`` is open to a GAN alone."""
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

    @property
    def has_free_keys(self) -> bool:
        """Whether it maps keys that no class knows to plain values."""
        return get_origin(self.info.annotation) is dict and get_args(self.info.annotation)[1] in {bool, float, int, str}


def alternatives(annotation: object) -> tuple[type[Config], ...]:
    """Return the config classes that a field's annotation allows: one, or those of a union."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Config) else ()
    if get_origin(annotation) not in {Annotated, Union, UnionType}:
        return ()
    return tuple(config for part in get_args(annotation) for config in alternatives(part))


@cache
def leaves(config: type[Config]) -> tuple[Leaf, ...]:
    """Return every value of a config, in all kinds; a union's kind before the values of each kind."""
    return tuple(_leaves(config))


def _leaves(
    config: type[Config], *, prefix: str = "", default: Config | None = None, section: str = ""
) -> Iterator[Leaf]:
    for key, info in config.model_fields.items():
        name, own = f"{prefix}{info.alias or key}", info.get_default(call_default_factory=True)
        value = own if default is None else getattr(default, key)
        match alternatives(info.annotation):
            case () if key == "kind" and re.search(r":\w+\.$", prefix):
                continue  # the union has said it
            case ():
                yield Leaf(name, info, value, section)
            case (group,):
                start = value if isinstance(value, group) else None
                yield from _leaves(group, prefix=f"{name}.", default=start, section=paragraph(info.description))
            case groups:
                kinds = {str(_kind_of(group)): group for group in groups}
                kind = getattr(value, "kind", value)
                tag = kinds.get(str(kind), groups[0]).model_fields["kind"]
                yield Leaf(f"{name}.kind", tag, kind, paragraph(info.description), kinds)
                for kind, group in kinds.items():
                    start = next((start for start in (value, own) if type(start) is group), None)
                    about = paragraph(group.__doc__)
                    yield from _leaves(group, prefix=f"{name}:{kind}.", default=start, section=about)


def path_of(name: str) -> str:
    """Return the path of a leaf, which names no kind.

    >>> path_of("model:vae.encoder.width")
    'model.encoder.width'
    """
    return re.sub(r":\w+", "", name)


@cache
def kinds_of(name: str) -> Mapping[str, str]:
    """Return the kinds that a leaf's name tells, by the names of the leaves that choose them.

    >>> kinds_of("model:vae.encoder:resnet.width")
    {'model.kind': 'vae', 'model:vae.encoder.kind': 'resnet'}
    """
    return {f"{name[: colon.start()]}.kind": colon[1] for colon in re.finditer(r":(\w+)", name)}


def is_open(name: str, chosen: Mapping[str, object]) -> bool:
    """Tell whether every kind that a leaf's name tells was chosen."""
    return all(chosen.get(union) == kind for union, kind in kinds_of(name).items())


def nested(flat: Mapping[str, object]) -> dict[str, object]:
    """Turn dotted paths into a nested patch.

    >>> nested({"model.kind": "vae", "model.latents": 16, "seed": 1})
    {'model': {'kind': 'vae', 'latents': 16}, 'seed': 1}
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


def differing(one: Config, other: Config) -> dict[str, tuple[object, object]]:
    """Return the values of two configs that differ, by path; None is what a kind does not have."""
    values, others = (_flat(config.model_dump(mode="json")) for config in (one, other))
    return {
        path: (values.get(path), others.get(path)) for path in values | others if values.get(path) != others.get(path)
    }


def _flat(tree: Patch, prefix: str = "") -> dict[str, object]:
    """Turn nested values into dotted paths."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def validated(config: type[C], values: Patch, *, where: str) -> C:
    """Return the values as a config.

    Raises:
        ConfigError: names ``where`` and, for each mistake, the field, what was found and what is expected.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise _refusal(config, error.errors(), where) from None


def check(config: type[Config], values: Patch, *, where: str) -> None:
    """Refuse what is wrong in values of which some may be missing yet.

    Raises:
        ConfigError: as ``validated``.
    """
    try:
        config.model_validate(values)
    except ValidationError as error:
        if wrong := [mistake for mistake in error.errors() if mistake["type"] != "missing"]:
            raise _refusal(config, wrong, where) from None


def _refusal(config: type[Config], mistakes: Sequence[ErrorDetails], where: str) -> ConfigError:
    sentences = dict.fromkeys(_explained(config, mistake) for mistake in mistakes)  # a union makes one a branch
    return ConfigError(f"{where}: {'; '.join(sentences)}")


def merged(config: type[Config] | None, old: Patch, patch: Patch) -> dict[str, object]:
    """Lay a patch over the values of a config; what they do not name has its default."""
    values = dict(old)
    for key, value in patch.items():
        info = _fields(config).get(key) if config else None
        values[key] = _overlaid(info, values.get(key), value) if isinstance(value, Mapping) else value
    return values


def _overlaid(info: FieldInfo | None, old: object, patch: Patch) -> dict[str, object]:
    """Lay a patch over the value of a field; another kind starts from the field's default if it has this kind."""
    groups = alternatives(info.annotation) if info else ()
    default = info.get_default(call_default_factory=True) if info and not info.is_required() else {}
    if isinstance(default, Config):  # what it does not name either stays unset
        default = default.model_dump(mode="json", by_alias=True, exclude_unset=len(groups) == 1)
    starts = [start for start in (old, default) if isinstance(start, Mapping)] or [{}]
    if not groups:
        return merged(None, starts[0], patch)
    kind = patch.get("kind", starts[0].get("kind"))
    start = next((start for start in starts if start.get("kind") == kind), {"kind": kind})
    return merged(next((group for group in groups if _kind_of(group) == kind), None), start, patch)


def _fields(config: type[Config]) -> dict[str, FieldInfo]:
    """Return the fields by the names that files and flags give them."""
    return {info.alias or key: info for key, info in config.model_fields.items()}


def _kind_of(config: type[Config]) -> object:
    return config.model_fields["kind"].default if "kind" in config.model_fields else None


@dataclass(frozen=True)
class _Place:
    """Where in a tree of configs a mistake is."""

    path: Sequence[str]
    """The field as it is written, which names no kind."""
    group: type[Config] | None
    """The config that the last part of the path is looked for in."""
    kinds: Mapping[str, type[Config]]
    """The kinds that this group could have."""


def _explained(config: type[Config], mistake: ErrorDetails) -> str:
    """Say which field is wrong, what was found, and what to write instead."""
    place = _place_of(config, mistake["loc"])
    name, found = ".".join(place.path), str(mistake.get("input"))[:80]
    match mistake["type"]:
        case "extra_forbidden":
            return f"{name}: {_unknown(place, config)}"
        case "missing":
            return f"{name}: needs a value"
        case "union_tag_invalid":
            tag, expected = mistake["ctx"]["tag"], mistake["ctx"]["expected_tags"]
            return f"{name}.kind: {tag!r} is not known; write one of: {expected}"
        case "model_type" | "model_attributes_type":
            return f"{name}: is a group, found {found!r}; write its fields, below its name"
        case "value_error":
            return ": ".join(filter(None, (name, mistake["msg"].removeprefix("Value error, "))))
        case kind:
            info = _fields(place.group).get(place.path[-1]) if place.group else None
            limits = {key: str(limit).removesuffix(".0") for key, limit in mistake.get("ctx", {}).items()}
            limits["finite"] = "whole" if info and info.annotation is int else "finite"
            limits["text"] = (info and info.title) or f"text matching {limits.get('pattern')}"
            advice = f"write {EXPECTED[kind].format(**limits)}" if kind in EXPECTED else mistake["msg"]
            if info and _is_union(info):
                advice = f"write {type_text(info.annotation, info.metadata).replace(' | ', ' or ')}"
            return f"{name}: {advice}, found {found!r}"


def _unknown(place: _Place, config: type[Config]) -> str:
    """Say whose a field is that is not one of its group, or which one was meant."""
    *parents, key = place.path
    own = _fields(place.group) if place.group else {}
    if others := [kind for kind, other in place.kinds.items() if key in _fields(other)]:
        near = difflib.get_close_matches(key, own, n=1, cutoff=0.8)
        meant = f", or did you mean {near[0]}?" if near else ""
        return f"belongs to kind {' or '.join(others)}; set {'.'.join([*parents, 'kind'])}{meant}"
    near = [*difflib.get_close_matches(key, own, n=1), *difflib.get_close_matches(key, _field_names(config), n=1)]
    return f"no such field; did you mean {near[0]}?" if near else "no such field; --help lists what there is"


def _place_of(config: type[Config], location: Sequence[int | str]) -> _Place:
    path: list[str] = []
    kinds: dict[str, type[Config]] = {}
    group: type[Config] | None = config
    found: tuple[type[Config], ...] = (config,)
    for part in map(str, location):
        if len(found) > 1:
            kinds = {str(each.model_fields["kind"].default): each for each in found}
            found = (kinds[part],) if part in kinds else ()
            continue
        group = found[0] if found else None
        kinds = kinds if group in kinds.values() else {}
        path.append(part)
        field = _fields(group).get(part) if group else None
        found = alternatives(field.annotation) if field else ()
        if field and not found and _is_union(field):
            break  # what follows names a branch
    return _Place(path, group, kinds)


def _is_union(info: FieldInfo) -> bool:
    """Tell whether a field takes values of several types, None not counted."""
    return get_origin(info.annotation) in {Union, UnionType} and len({*get_args(info.annotation)} - {type(None)}) > 1


def _field_names(annotation: object) -> list[str]:
    if not (isinstance(annotation, type) and issubclass(annotation, Config)):
        return [name for part in get_args(annotation) for name in _field_names(part)]
    fields = _fields(annotation)
    return [*fields, *(name for each in fields.values() for name in _field_names(each.annotation))]
