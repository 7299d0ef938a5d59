"""Laws of the search space."""

from collections.abc import Mapping
from itertools import starmap
from operator import attrgetter
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field

from rayology.config import Choice, Config, Range, leaves, nested, path_of
from rayology.errors import ConfigError
from rayology.experiment import Experiment, OptimizerConfig, SearchConfig
from rayology.models import GanConfig, VaeConfig
from rayology.search.marks import dimensions, out_of_range, starting_points
from rayology.search.space import Dimension, Point, Space


class Plain(Config):
    """A plain network."""

    kind: Literal["plain"] = "plain"
    width: Annotated[int, Choice(8, 16)] = 8


class Residual(Config):
    """A residual network."""

    kind: Literal["residual"] = "residual"
    width: Annotated[int, Choice(16, 32)] = 16
    depth: Annotated[int, Choice(1, 2)] = 1


class Wide(Config):
    """A wide network."""

    kind: Literal["wide"] = "wide"
    width: Annotated[int, Choice(16, 64)] = 64


Backbone = Annotated[Plain | Residual | Wide, Field(discriminator="kind")]


class Coder(Config):
    """A model of one network."""

    kind: Literal["coder"] = "coder"
    backbone: Backbone = Plain()
    latents: Annotated[int, Choice(16, 32)] = 16
    weight: Annotated[float, Range(0.1, 1.0)] = 0.5


class Critic(Config):
    """A model whose network is not the default one of its kind."""

    kind: Literal["critic"] = "critic"
    backbone: Backbone = Residual(depth=2)
    latents: Annotated[int, Choice(32, 64)] = 64
    weight: Annotated[float, Range(0.5, 4.0)] = 1.0
    steps: Annotated[int, Range(1, 5)] = 1


Model = Annotated[Coder | Critic, Field(discriminator="kind")]


class Tree(Config):
    """What a sweep looks at, with models of two kinds and networks of three."""

    model: Model = Coder()
    optimizer: OptimizerConfig = OptimizerConfig()
    search: SearchConfig = SearchConfig()

    @property
    def measurable_kinds(self) -> tuple[str, ...]:
        return tuple(str(kind.model_fields["kind"].default) for kind in (Coder, Critic))


def tree(
    model: Coder | Critic | None = None, narrow: Mapping[str, tuple[float | str, ...]] | None = None
) -> Experiment:
    search = SearchConfig(narrow=dict(narrow or {}))
    return Tree(model=model or Coder(), search=search)  # type: ignore[return-value] # no other fields are asked for


def marks(experiment: Experiment) -> dict[str, Choice | Range]:
    return {dimension.name: dimension.mark for dimension in dimensions(experiment)}


def kinds(point: dict[str, str | float | bool]) -> dict[str, object]:
    return {path_of(name): value for name, value in point.items() if name.endswith(".kind")}


def trials(experiment: Experiment, count: int) -> list[Point]:
    generator = np.random.default_rng(0)
    return [Space(dimensions(experiment)).draw(generator) for _ in range(count)]


def narrowed(**narrow: tuple[float | str, ...]) -> Experiment:
    return Experiment(search=SearchConfig(narrow={name.replace("__", "."): values for name, values in narrow.items()}))


def test_every_suggestion_is_a_valid_experiment_of_the_kind_that_it_chose() -> None:
    chosen = trials(Experiment(), 40)

    built = [Experiment().patched(nested({path_of(name): value for name, value in trial.items()})) for trial in chosen]

    assert {experiment.model.kind for experiment in built} == {"vae", "gan"}
    for experiment, trial in zip(built, chosen, strict=True):
        assert experiment.model.kind == trial["model.kind"]


def test_a_whole_number_is_suggested_whole_and_within_its_range() -> None:
    experiment = tree(narrow={"model.kind": ("critic",), "model.steps": (2, 4)})

    steps = [trial["model:critic.steps"] for trial in trials(experiment, 20)]

    assert set(steps) <= {2, 3, 4}
    assert all(isinstance(number, int) for number in steps)


def test_a_kinds_own_fields_are_searched_only_for_that_kind() -> None:
    for trial in trials(Experiment(), 20):
        kinds = {name.split(":")[1].split(".")[0] for name in trial if ":" in name}
        assert kinds == {trial["model.kind"]}


def test_everything_that_is_marked_is_searched() -> None:
    marked = {
        leaf.name for leaf in leaves(Experiment) if any(isinstance(mark, Range | Choice) for mark in leaf.info.metadata)
    }

    assert {dimension.name for dimension in dimensions(Experiment()) if not dimension.is_kind} == marked


def test_a_sweep_may_narrow_a_range_a_choice_and_the_kinds() -> None:
    experiment = narrowed(
        model__kind=("gan",),
        optimizer__lr=(4e-4, 5e-4),
        model__generator__kind=("resnet",),
        model__generator__width=(8, 16),
    )

    for trial in trials(experiment, 20):
        assert trial["model.kind"] == "gan"
        assert 4e-4 <= float(trial["optimizer.lr"]) <= 5e-4
        assert trial["model:gan.generator:resnet.width"] in {8, 16}


@pytest.mark.parametrize(
    ("narrow", "message"),
    [
        ({"optimizer.lr": (1e-9, 1.0)}, "write two numbers from 0.0003 to 0.005"),
        ({"optimizer.lr": (1e-3,)}, "write two numbers"),
        ({"model.kind": ("diffusion",)}, "write some of vae, gan"),
        ({"schedule.steps": (1, 2)}, "schedule.steps is not searched; these are: .*optimizer.lr"),
    ],
)
def test_a_sweep_may_not_widen_what_is_marked(narrow: dict[str, tuple[float | str, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dimensions(Experiment(search=SearchConfig(narrow=narrow)))


def test_a_star_narrows_every_part_that_no_other_key_names() -> None:
    kept = {"model.backbone.kind": ("plain", "residual")}

    found = marks(tree(narrow={**kept, "model.*.width": (16, 32), "model.backbone:residual.width": (32,)}))

    widths = {name: mark for name, mark in found.items() if name.endswith(".width")}
    assert {name for name in widths if ":plain" in name}
    assert {name for name in widths if ":residual" in name}
    for name, mark in widths.items():
        assert mark == (Choice(16) if ":plain" in name else Choice(32))


def test_a_star_leaves_alone_what_has_none_of_its_values() -> None:
    before, found = marks(Experiment()), marks(Experiment(search=SearchConfig(narrow={"model.*.kind": ("resnet",)})))

    assert found["model:gan.critic.kind"] == found["model:vae.encoder.kind"] == Choice("resnet")
    assert found["model:gan.regulariser.kind"] == before["model:gan.regulariser.kind"]
    assert marks(tree(narrow={"model.*": (0.2, 0.5)})).keys() == marks(tree()).keys()


def test_narrowing_a_field_asks_nothing_of_a_kind_that_is_left_out() -> None:
    names = {dimension.name for dimension in dimensions(narrowed(model__kind=("vae",), model__latents=(16,)))}

    assert "model:vae.latents" in names
    assert not any("gan" in name for name in names)


def test_a_sweep_starts_from_the_experiment_and_from_the_other_kinds_defaults() -> None:
    experiment = Experiment(model=GanConfig(latents=32))

    first, second, *_ = starting_points(experiment)

    assert first["model.kind"] == "gan"
    assert first["model:gan.latents"] == 32
    assert second["model.kind"] == "vae"
    assert second["model:vae.latents"] == VaeConfig().latents


def test_few_starting_points_hold_each_kind_of_each_part() -> None:
    """Parts change together: one at a time there would be more points than a sweep has trials."""
    searched = dimensions(Experiment())
    kinds = {(each.name, kind) for each in searched if each.is_kind for kind in each.choices}

    points = starting_points(Experiment())

    assert kinds <= {item for point in points for item in point.items()}
    assert len(points) == 2 + 4 + 5
    assert [point["model.kind"] for point in points[:2]] == ["vae", "gan"]
    assert points[1]["model:gan.critic.kind"] == GanConfig().critic.kind


def test_a_starting_point_leaves_out_what_a_sweep_excludes() -> None:
    points = starting_points(
        narrowed(
            model__kind=("vae",),
            model__encoder__kind=("resnet",),
            model__decoder__kind=("resnet",),
            model__encoder__width=(64,),
            model__prior__kind=("normal",),
            model__likelihood__kind=("gaussian",),
            model__objective__kind=("elbo",),
        )
    )

    assert [point["model.kind"] for point in points] == ["vae"]
    assert "model:vae.encoder:resnet.width" not in points[0]


def test_every_default_is_among_what_is_searched() -> None:
    defaults = {leaf.name: leaf.default for leaf in leaves(Experiment)}

    for dimension in dimensions(Experiment()):
        assert dimension.admits(defaults[dimension.name]), dimension.name


def test_narrowing_a_field_keeps_in_each_kind_what_it_has() -> None:
    found = marks(tree(narrow={"model.latents": (16, 32), "model.backbone.width": (16,)}))

    assert found["model:coder.latents"] == Choice(16, 32)
    assert found["model:critic.latents"] == Choice(32)
    assert {mark for name, mark in found.items() if name.endswith(".width")} == {Choice(16)}


def test_narrowing_a_range_keeps_in_each_kind_what_it_has() -> None:
    found = marks(tree(narrow={"model.weight": (0.2, 2.0)}))

    assert found["model:coder.weight"] == Range(0.2, 1.0)
    assert found["model:critic.weight"] == Range(0.5, 2.0)


@pytest.mark.parametrize(
    ("narrow", "message"),
    [
        ({"model.latents": (16, 48)}, r"^search\.narrow\.model\.latents: write some of 16, 32, 64, found 16, 48$"),
        ({"model.latents": ()}, "write some of 16, 32, 64"),
        ({"model.weight": (0.01, 1)}, r"write two numbers from 0\.1 to 1 or two numbers from 0\.5 to 4"),
        ({"model.weight": (1.0, 0.5)}, r"write two numbers .*, the lower one first, found 1, 0\.5"),
        (
            {"model.latents": (16,)},
            r"latents: has nothing for model\.kind critic; add some of 32, 64, or narrow model\.k",
        ),
        ({"model.weight": (0.1, 0.3)}, r"weight: has nothing for model\.kind critic; add some of 0\.5 to 4"),
        ({"model.backbone.width": (8,)}, r"width: has nothing for model\.backbone\.kind residual"),
        ({"model:coder.penalty": (8,)}, "model:coder.penalty is not searched"),
        ({"model:critic.latents": (16,)}, "model:critic.latents: write some of 32, 64"),
    ],
)
def test_a_narrowing_that_leaves_a_kind_nothing_says_which(
    narrow: dict[str, tuple[float | str, ...]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dimensions(tree(narrow=narrow))


def test_a_kind_that_is_left_out_may_have_none_of_the_wanted_values() -> None:
    assert marks(tree(narrow={"model.kind": ("coder",), "model.latents": (16,)}))["model:coder.latents"] == Choice(16)
    assert marks(tree(narrow={"model.backbone.kind": ("plain",), "model.backbone.width": (8,)}))


def test_a_name_with_a_kind_narrows_that_kind_apart() -> None:
    found = marks(
        tree(narrow={"model.latents": (32,), "model:critic.latents": (64,), "model.backbone:wide.width": (64,)})
    )

    assert found["model:coder.latents"] == Choice(32)
    assert found["model:critic.latents"] == Choice(64)
    assert found["model:coder.backbone:wide.width"] == found["model:critic.backbone:wide.width"] == Choice(64)
    assert found["model:coder.backbone:plain.width"] == Choice(8, 16)


def test_what_no_choice_of_kinds_can_open_is_not_searched() -> None:
    assert not [name for name in marks(tree(narrow={"model.kind": ("coder",)})) if ":critic" in name]
    assert not [name for name in marks(tree(narrow={"model.backbone.kind": ("plain", "wide")})) if ":residual" in name]

    found = marks(tree(narrow={"model:coder.backbone.kind": ("wide",)}))
    assert "model:coder.backbone:plain.width" not in found
    assert "model:critic.backbone:plain.width" in found


def test_a_sweep_starts_from_the_experiment_and_then_from_each_kind_of_each_union_once() -> None:
    points = starting_points(tree(Coder(latents=32)))

    assert [kinds(point) for point in points] == [
        {"model.kind": "coder", "model.backbone.kind": "plain"},
        {"model.kind": "critic", "model.backbone.kind": "residual"},
        {"model.kind": "coder", "model.backbone.kind": "wide"},
    ]
    assert [point.get("model:coder.latents") for point in points] == [32, None, 32]
    assert points[1]["model:critic.backbone:residual.depth"] == Critic().backbone.depth  # type: ignore[union-attr]


def test_other_kinds_of_network_are_tried_with_the_experiments_own_model() -> None:
    points = starting_points(tree(Critic(backbone=Wide())))

    assert [kinds(point) for point in points] == [
        {"model.kind": "critic", "model.backbone.kind": "wide"},
        {"model.kind": "coder", "model.backbone.kind": "plain"},
        {"model.kind": "critic", "model.backbone.kind": "residual"},
    ]


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        Experiment(model=GanConfig()),
        tree(),
        tree(Critic(latents=48)),
        tree(Critic(weight=9.0)),
        tree(Critic(backbone=Wide(width=8)), narrow={"model.backbone.kind": ("plain", "residual")}),
    ],
)
def test_a_starting_point_is_a_valid_trial_that_names_what_its_kinds_open(experiment: Experiment) -> None:
    searched = {dimension.name: dimension for dimension in dimensions(experiment)}

    for point in starting_points(experiment):
        assert set(point) == {name for name, dimension in searched.items() if dimension.is_open(point)}
        assert all(searched[name].admits(value) for name, value in point.items())
        built = experiment.patched(nested({path_of(name): value for name, value in point.items()}))
        assert all(attrgetter(path_of(name))(built) == value for name, value in point.items())


def test_a_kind_that_is_left_out_gives_way_to_the_first_that_is_not() -> None:
    (only,) = starting_points(tree(narrow={"model.kind": ("critic",), "model.backbone.kind": ("wide",)}))

    assert kinds(only) == {"model.kind": "critic", "model.backbone.kind": "wide"}


def test_the_experiments_own_value_is_tried_even_if_it_is_not_marked() -> None:
    experiment = tree(Coder(latents=48))

    assert marks(experiment)["model:coder.latents"] == Choice(16, 32, 48)
    assert marks(experiment)["model:critic.latents"] == Choice(32, 64)
    assert starting_points(experiment)[0]["model:coder.latents"] == 48
    assert marks(tree(Coder(latents=48), narrow={"model.latents": (32, 48)}))["model:coder.latents"] == Choice(32, 48)


def test_a_value_outside_its_range_starts_at_the_nearest_bound_and_says_so() -> None:
    experiment = tree(Critic(weight=9.0, steps=7))

    first, *_ = starting_points(experiment)

    assert first["model:critic.weight"] == 4.0
    assert first["model:critic.steps"] == 5
    assert isinstance(first["model:critic.steps"], int)
    assert out_of_range(experiment) == (
        "model.weight: 9 is not within 0.5 to 4; 4 is tried first",
        "model.steps: 7 is not within 1 to 5; 5 is tried first",
    )
    assert out_of_range(tree()) == ()


def test_kinds_that_lack_the_objective_are_left_out_and_never_asked_for() -> None:
    experiment = Experiment(model=GanConfig(), search=SearchConfig(objective="bound"))

    assert {trial["model.kind"] for trial in trials(experiment, 10)} == {"vae"}
    assert {point["model.kind"] for point in starting_points(experiment)} == {"vae"}
    with pytest.raises(ConfigError, match="gan has no bound, the objective; write some of: vae"):
        experiment.patched({"search": {"narrow": {"model.kind": ["gan"]}}})
    with pytest.raises(ConfigError, match="no kind of model has dice"):
        dimensions(Experiment(search=SearchConfig(objective="dice")))


def test_choices_that_only_kinds_have_that_are_left_out_narrow_nothing_and_are_refused() -> None:
    narrow: dict[str, tuple[float | str, ...]] = {"model.backbone.kind": ("plain",), "model.*.width": (64,)}

    with pytest.raises(ConfigError, match=r"width: no kind of model that is searched has 64; write some of 8, 16$"):
        dimensions(tree(narrow=narrow))


def test_a_space_whose_dimensions_are_all_pinned_is_a_single_point() -> None:
    pinned: dict[str, Choice | Range] = {"a": Choice("x"), "b": Range(1, 1)}

    assert Space(tuple(starmap(Dimension, pinned.items()))).is_single_point
    assert not Space(tuple(starmap(Dimension, [*pinned.items(), ("c", Range(1, 2))]))).is_single_point
