"""What models cost, and the limits that a search sets."""

import pytest
import torch

from rayology.bundle import inference_weights
from rayology.errors import ConfigError
from rayology.experiment import COSTS as NAMES
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import GanConfig, VaeConfig
from rayology.models.backbones import DenseConfig
from rayology.search.costs import COSTS, violations

IMAGE = ImageSpec(size=(16, 16), classes=("a", "b"))


def wide(width: int, **search: float) -> Experiment:
    model = VaeConfig(encoder=DenseConfig(width=width), decoder=DenseConfig(width=width))
    return Experiment.model_validate({"model": model, "schedule": {"batch_size": 4}, "search": search})


def test_every_cost_that_an_experiment_may_name_is_measured() -> None:
    assert set(NAMES) == set(COSTS)


@pytest.mark.parametrize("config", [VaeConfig(), GanConfig()], ids=lambda config: config.kind)
def test_a_model_costs_time_and_the_weights_that_its_bundle_keeps(
    config: VaeConfig | GanConfig,
) -> None:
    model = config.build(IMAGE).eval()

    assert COSTS["parameters"](model) == sum(weight.numel() for weight in inference_weights(model).values())
    assert COSTS["ms_per_image"](model) > 0


@pytest.mark.parametrize("limit", ["max_parameters", "max_memory_gb", "max_ms_per_image"])
def test_a_limit_is_exceeded_by_the_model_that_is_larger_and_by_no_other(limit: str) -> None:
    torch.manual_seed(0)

    assert violations(wide(512, **{limit: 1 if limit == "max_parameters" else 1e-6}), IMAGE).keys() == {limit}
    assert violations(wide(128, **{limit: 10**9}), IMAGE) == {}
    assert violations(wide(128), IMAGE) == {}


def test_more_width_is_more_over_the_limit() -> None:
    narrow, broad = (violations(wide(width, max_parameters=1000), IMAGE)["max_parameters"] for width in (128, 256))

    assert narrow < broad


def test_what_cannot_be_weighed_is_refused_with_what_can() -> None:
    with pytest.raises(ValueError, match=r"beauty: cannot be weighed; write some of: mmd, .*parameters, ms_per_image"):
        Experiment.model_validate({"search": {"tradeoffs": ["beauty"]}})
    with pytest.raises(ConfigError):
        Experiment().patched({"search": {"tradeoffs": ["mmd"]}})
