"""Laws of the configuration tree."""

import re
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined, to_jsonable_python
from tests.trees import (
    Bent,
    Conv,
    Deep,
    Holder,
    Judge,
    Limits,
    Maker,
    Named,
    Optional,
    Settings,
    Shallow,
    Tree,
)

from rayology.command_line import load
from rayology.config import Config, Leaf, check, is_open, kinds_of, leaves, nested, path_of
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.usage import value_text

REQUIRED = "https://archive.example"  # what every field without a default takes


def told(leaf: Leaf) -> dict[str, object]:
    """Return what chooses the kinds that a leaf belongs to."""
    return {path_of(union): kind for union, kind in kinds_of(leaf.name).items()}


def with_required(tree: type[Config], choice: dict[str, object]) -> dict[str, object]:
    """Return a choice of kinds with something in each field of them that has no default."""
    given = {path_of(leaf.name): REQUIRED for leaf in opened(tree, choice) if leaf.default is PydanticUndefined}
    return {**choice, **given}


def opened(tree: type[Config], choice: dict[str, object]) -> list[Leaf]:
    """Return the leaves that a choice of kinds opens."""
    chosen: dict[str, object] = {}
    found = []
    for leaf in leaves(tree):
        if is_open(leaf.name, chosen):
            found.append(leaf)
            chosen |= {leaf.name: choice.get(path_of(leaf.name), leaf.default)} if leaf.kinds else {}
    return found


TREES: tuple[type[Config], ...] = (Tree, Experiment)
ALL_LEAVES = [pytest.param(tree, leaf, id=f"{tree.__name__}.{leaf.name}") for tree in TREES for leaf in leaves(tree)]
ALL_KINDS = [
    pytest.param(tree, {**told(leaf), path_of(leaf.name): kind}, id=f"{tree.__name__}.{leaf.name}={kind}")
    for tree in TREES
    for leaf in leaves(tree)
    for kind in leaf.kinds
]


def test_a_patch_keeps_what_it_does_not_name() -> None:
    settings = Settings(net=Conv(kernel=5), lr=0.5)

    assert settings.patched({"net": {"width": 2}}) == Settings(net=Conv(kernel=5, width=2), lr=0.5)


def test_a_field_goes_by_its_name_in_files() -> None:
    named = Named().patched({"class": "nodule"})

    assert named.class_name == "nodule"
    assert named.patched({}) == named
    assert Holder().patched({"net": {"class": "effusion"}}).net == named.patched({"class": "effusion"})
    with pytest.raises(ConfigError, match=r"clas: no such field; did you mean class\?$"):
        named.patched({"clas": "nodule"})
    with pytest.raises(ConfigError, match=r"net\.class: belongs to kind named; set net\.kind$"):
        Holder().patched({"net": {"kind": "dense", "class": "nodule"}})


@pytest.mark.parametrize(("tree", "choice"), ALL_KINDS)
def test_no_mistake_is_told_in_the_words_of_a_library(tree: type[Config], choice: dict[str, object]) -> None:
    for wrong in ([-1.5], "?", -7):
        values = {path_of(leaf.name): leaf.default if leaf.kinds else wrong for leaf in opened(tree, choice)} | choice

        with pytest.raises(ConfigError, match=r"\w: write .+, found '") as refused:
            check(tree, nested(values), where="values")

        assert not re.search("should|[Ii]nput", str(refused.value))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"schedule": {"cooldown": 1.5}}, "schedule.cooldown: write a number of at most 1, found '1.5'"),
        ({"schedule": {"steps": 2.5}}, "schedule.steps: write a whole number, found '2.5'"),
        ({"schedule": {"steps": float("nan")}}, "schedule.steps: write a whole number, found 'nan'"),
        (
            {"search": {"concurrent_trials": "two"}},
            "search.concurrent_trials: write int above 0 or auto, found 'two'",
        ),
        ({"name": "My Model"}, "name: write up to 40 of a-z, 0-9 and -, found 'My Model'"),
        ({"preparation": {"percentiles": [1, 2, 3]}}, "preparation.percentiles: write at most 2 values, found '[1, 2"),
        ({"preparation": {"modality": "ct"}}, "preparation.modality: write 2 to 16 capital letters and digits, found"),
    ],
)
def test_a_value_out_of_range_is_told_the_limit(patch: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^patch: {re.escape(message)}"):
        Experiment().patched(patch)


def test_what_is_wrong_between_fields_is_told_as_it_is() -> None:
    with pytest.raises(
        ConfigError, match=r"^patch: schedule\.batch_size 7 must be a multiple of 2, the microbatches of"
    ):
        Experiment().patched({"schedule": {"batch_size": 7}, "scaling": {"num_workers": 2}})


def test_an_empty_patch_changes_nothing() -> None:
    settings = Settings(net=Conv(kernel=5), place=Path("here"))

    assert settings.patched({}) == settings


def test_a_patch_that_names_the_same_kind_keeps_its_fields() -> None:
    assert Settings(net=Conv(kernel=5)).patched({"net": {"kind": "conv", "width": 1}}).net == Conv(kernel=5, width=1)


@pytest.mark.parametrize(("tree", "leaf"), ALL_LEAVES)
def test_naming_a_value_that_is_the_default_changes_nothing(tree: type[Config], leaf: Leaf) -> None:
    base = tree().patched(nested(with_required(tree, told(leaf))))

    if leaf.default is not PydanticUndefined:
        assert attrgetter(path_of(leaf.name))(base) == leaf.default
        named = {**with_required(tree, told(leaf)), path_of(leaf.name): to_jsonable_python(leaf.default)}
        assert tree().patched(nested(named)) == base


@pytest.mark.parametrize(("tree", "choice"), ALL_KINDS)
def test_defaults_as_flags_and_in_a_file_change_nothing(
    tree: type[Config], choice: dict[str, object], tmp_path: Path
) -> None:
    required = with_required(tree, choice)
    base = tree().patched(nested(required))
    values = {path_of(leaf.name): leaf.default for leaf in opened(tree, choice)} | required
    path = tmp_path / "tree.yaml"
    path.write_text(yaml.safe_dump(to_jsonable_python(nested(values))))

    assert load(tree, [f"--{path}={value}" for path, value in required.items()]) == base
    assert load(tree, [word for path, value in values.items() for word in as_flag(path, value)]) == base
    assert load(tree, [str(path)]) == base


def as_flag(path: str, value: object) -> list[str]:
    name = path.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", value_text(value) if value != "" else ""]


@pytest.mark.parametrize(("tree", "leaf"), [leaf for leaf in ALL_LEAVES if ":" in str(leaf.id)])
def test_a_value_of_a_kind_that_was_not_chosen_is_an_error_that_names_the_kind(tree: type[Config], leaf: Leaf) -> None:
    *_, (union, kind) = kinds_of(leaf.name).items()
    found, group = {each.name: each for each in leaves(tree)}, union.removesuffix(".kind")
    without = [
        other for other in found[union].kinds if leaf.name.replace(f"{group}:{kind}", f"{group}:{other}") not in found
    ]

    for other in without:
        choice = {**told(leaf), path_of(union): other, path_of(leaf.name): REQUIRED}
        with pytest.raises(ConfigError, match=rf"belongs to kind .*\b{kind}\b.*; set {path_of(union)}"):
            tree().patched(nested(choice))


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


def test_a_word_for_a_group_is_told_to_write_its_fields() -> None:
    with pytest.raises(ConfigError, match=r"limits: is a group, found 'all'; write its fields, below its name$"):
        Tree().patched({"limits": "all"})


def test_an_unknown_key_is_answered_with_one_of_its_own_group() -> None:
    with pytest.raises(ConfigError, match=r"model\.nam: no such field; did you mean name\?$"):
        Tree().patched({"model": {"kind": "judge", "name": "x", "nam": 3}})


def test_a_config_is_frozen_all_the_way_down() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().net.width = 3  # type: ignore[misc] # that is the test


def test_nothing_can_lie_below_a_value() -> None:
    with pytest.raises(ConfigError, match="net has a value already"):
        nested({"net": 1, "net.kind": "conv"})
