"""Laws of the search space."""

import optuna
import pytest

from rayology.config import nested
from rayology.errors import ConfigError
from rayology.experiment import Experiment, SearchConfig
from rayology.models import GanConfig, VaeConfig
from rayology.search.space import dimensions, path_of, starting_points, suggest


def trials(experiment: Experiment, count: int) -> list[dict[str, str | float | bool]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(study.ask(), experiment) for _ in range(count)]


def narrowed(**narrow: tuple[float | str, ...]) -> Experiment:
    return Experiment(search=SearchConfig(narrow={name.replace("__", "."): values for name, values in narrow.items()}))


def test_every_suggestion_is_a_valid_experiment_of_the_kind_that_it_chose() -> None:
    chosen = trials(Experiment(), 40)

    built = [Experiment().patched(nested({path_of(name): value for name, value in trial.items()})) for trial in chosen]

    assert {experiment.model.kind for experiment in built} == {"vae", "gan"}
    for experiment, trial in zip(built, chosen, strict=True):
        assert experiment.model.kind == trial["model.kind"]


def test_a_kinds_own_fields_are_searched_only_for_that_kind() -> None:
    for trial in trials(Experiment(), 20):
        kinds = {name.split(":")[1].split(".")[0] for name in trial if ":" in name}
        assert kinds == {trial["model.kind"]}


def test_everything_that_is_marked_is_searched() -> None:
    paths = {path_of(dimension.name) for dimension in dimensions(Experiment())}

    assert paths == {
        "model.kind",
        "model.backbone.activation",
        "model.backbone.depth",
        "model.backbone.growth",
        "model.backbone.width",
        "model.beta",
        "model.latents",
        "model.penalty",
        "optimizer.lr",
    }


def test_a_sweep_may_narrow_a_range_a_choice_and_the_kinds() -> None:
    experiment = narrowed(model__kind=("gan",), optimizer__lr=(4e-4, 5e-4), model__backbone__width=(8, 16))

    for trial in trials(experiment, 20):
        assert trial["model.kind"] == "gan"
        assert 4e-4 <= float(trial["optimizer.lr"]) <= 5e-4
        assert trial["model:gan.backbone.width"] in {8, 16}


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


def test_narrowing_a_field_asks_nothing_of_a_kind_that_is_left_out() -> None:
    names = {dimension.name for dimension in dimensions(narrowed(model__kind=("vae",), model__latents=(16,)))}

    assert "model:vae.latents" in names
    assert not any("gan" in name for name in names)


def test_a_sweep_starts_from_the_experiment_and_from_the_other_kinds_defaults() -> None:
    experiment = Experiment(model=GanConfig(penalty=3.0))

    first, second = starting_points(experiment)

    assert first["model.kind"] == "gan"
    assert first["model:gan.penalty"] == 3.0
    assert second["model.kind"] == "vae"
    assert second["model:vae.latents"] == VaeConfig().latents


def test_a_starting_point_leaves_out_what_a_sweep_excludes() -> None:
    points = starting_points(narrowed(model__kind=("vae",), model__backbone__width=(64,)))

    assert [point["model.kind"] for point in points] == ["vae"]
    assert "model:vae.backbone.width" not in points[0]
