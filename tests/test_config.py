"""Laws of the configuration tree."""

from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_core import PydanticUndefined, to_jsonable_python

from rayology.command_line import load
from rayology.config import Config, Leaf, is_open, kinds_of, leaves, nested, path_of
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


class Named(Config):
    """A field whose name in files is a word of Python."""

    kind: Literal["named"] = "named"
    """Which."""
    class_name: Annotated[str, Field(alias="class")] = ""
    """Class."""


class Holder(Config):
    """A union with such a field in one of its kinds."""

    net: Annotated[Dense | Named, Field(discriminator="kind")] = Named.model_validate({"class": "nodule"})
    """The network."""


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


TREES: tuple[type[Config], ...] = (Tree, Experiment)
ALL_LEAVES = [pytest.param(tree, leaf, id=f"{tree.__name__}.{leaf.name}") for tree in TREES for leaf in leaves(tree)]
ALL_KINDS = [
    pytest.param(tree, {**told(leaf), path_of(leaf.name): kind}, id=f"{tree.__name__}.{leaf.name}={kind}")
    for tree in TREES
    for leaf in leaves(tree)
    for kind in leaf.kinds
]


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


def test_a_field_goes_by_its_name_in_files() -> None:
    named = Named().patched({"class": "nodule"})

    assert named.class_name == "nodule"
    assert named.patched({}) == named
    assert Holder().patched({"net": {"class": "effusion"}}).net == named.patched({"class": "effusion"})
    with pytest.raises(ConfigError, match=r"clas: no such field; did you mean class\?$"):
        named.patched({"clas": "nodule"})
    with pytest.raises(ConfigError, match=r"net\.class: belongs to kind named; set net\.kind$"):
        Holder().patched({"net": {"kind": "dense", "class": "nodule"}})


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


def test_a_flag_of_a_kind_that_was_not_chosen_is_an_error_that_names_the_kind() -> None:
    with pytest.raises(ConfigError, match=r"model\.loss: belongs to kind gan; set model\.kind$"):
        load(Experiment, ["--model.loss", "hinge"])


def test_a_flag_of_another_kind_that_is_nearly_one_of_the_chosen_kind_says_both() -> None:
    with pytest.raises(
        ConfigError, match=r"source\.patient: belongs to kind .*; set source\.kind, or did you mean patients\?$"
    ):
        load(Experiment, ["--source.patient", "3"])


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
        ("", "is empty; write 'key: value' lines, or leave the file out"),
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


def test_a_folder_and_a_file_that_is_not_text_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\x89PNG\xff")

    for name, message in ((".", "is a folder"), ("weights", "is not text")):
        with pytest.raises(ConfigError, match=f"{message}; the first argument is a YAML file of settings"):
            load(Settings, [str(tmp_path / name)])


def test_a_word_for_a_group_is_told_to_write_its_fields() -> None:
    with pytest.raises(ConfigError, match=r"limits: is a group, found 'all'; write its fields, below its name$"):
        Tree().patched({"limits": "all"})


def test_a_flag_gives_what_a_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("model: {kind: judge}")

    assert load(Tree, [str(path), "--model.name", "x"]).model == Judge(name="x")
    with pytest.raises(ConfigError, match=r"^the command line: model\.name: needs a value$"):
        load(Tree, [str(path)])


def test_a_flag_out_of_range_is_a_mistake_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: lr"):
        load(Settings, ["--lr", "0"])


def test_an_unknown_flag_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"^the command line: there is no flag --net\.kernal; did you mean"):
        load(Settings, ["--net.kernal", "1"])

    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--scaling.num_workers", "2"], "--scaling.num-workers"),
        (["--num-workers=2"], "--scaling.num-workers"),
        (["--shedule.steps", "3"], "--schedule.steps"),
        (["--source.patint", "3"], "--source.patients"),
        (["--source.kind", "folder", "--source.path", "x", "--source.pat", "3"], "--source.path"),
        (["--source.kind=folder", "--source.pacients", "3"], "--source.patients"),
        (["--model.kind", "gan", "--model.packng", "3"], "--model.packing"),
    ],
)
def test_an_unknown_flag_is_answered_with_one_of_the_chosen_kinds_before_one_of_another(
    arguments: list[str], near: str
) -> None:
    with pytest.raises(ConfigError, match=rf"there is no flag --[\w.-]+; did you mean {near}\?$"):
        load(Experiment, arguments)


def test_an_unknown_flag_that_is_near_to_none_is_answered_with_the_way_to_the_help() -> None:
    with pytest.raises(ConfigError, match=r"there is no flag --zzz; --help lists what there is$"):
        load(Settings, ["--zzz"])


def test_an_unknown_key_is_answered_with_one_of_its_own_group() -> None:
    with pytest.raises(ConfigError, match=r"model\.nam: no such field; did you mean name\?$"):
        Tree().patched({"model": {"kind": "judge", "name": "x", "nam": 3}})


def test_a_word_between_flags_is_told_what_a_flag_takes() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: there is not a flag; a flag takes one value, and text"):
        load(Settings, ["--lr", "1", "there"])


def test_a_flag_without_its_value_is_not_taken_for_an_unknown_one() -> None:
    with pytest.raises(ConfigError, match=r"--lr: expected one argument$"):
        load(Settings, ["--lr"])


def test_a_file_after_a_flag_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"wrong\.yaml is not a flag; the YAML file comes before all flags$"):
        load(Settings, ["--lr", "1", "wrong.yaml"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--source.limits", "{max_files: 3"],
            r"^--source\.limits: .* is not JSON from character 2 on .*; write the group",
        ),
        (
            ["--source.limits={max_files: 3"],
            r"^--source\.limits: .* is not JSON from character 2 on .*; write the group",
        ),
        (["--init", "nosuch"], r"^--init: 'nosuch' is not JSON from character 1 on .*; write \{text: text\} as JSON$"),
        (["--name", "x", "--search.narrow={}", "--init", "nosuch"], r"^--init: 'nosuch' is not JSON"),
        (["--model.encoder", "vgg"], r"model\.encoder: is a group, found 'vgg'; write its fields"),
    ],
)
def test_json_that_is_not_any_is_named_by_its_flag_and_its_place(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Experiment, arguments)


def test_a_config_is_frozen_all_the_way_down() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().net.width = 3  # type: ignore[misc] # that is the test


def test_nothing_can_lie_below_a_value() -> None:
    with pytest.raises(ConfigError, match="net has a value already"):
        nested({"net": 1, "net.kind": "conv"})


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nschedule: {steps: 4}\nschedule: {batch_size: 5}\n")

    with pytest.raises(ConfigError, match=r"twice\.yaml: .*'schedule' stands twice, the second time in line 3"):
        load(Experiment, [str(tmp_path / "twice.yaml")])


def test_a_yaml_may_merge_what_an_anchor_names(tmp_path: Path) -> None:
    (tmp_path / "merged.yaml").write_text("schedule: &a {steps: 4}\nsearch: {num_trials: 3}\n")
    (tmp_path / "over.yaml").write_text("schedule:\n  <<: {steps: 4, batch_size: 2}\n  steps: 6\n")

    assert load(Experiment, [str(tmp_path / "merged.yaml")]).schedule.steps == 4
    assert load(Experiment, [str(tmp_path / "over.yaml")]).schedule.steps == 6
