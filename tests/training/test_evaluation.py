"""Holding a model against unseen images: how many of them, and how many at once."""

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.kinds import SMALL_MODELS, name_of
from torch import Tensor

from rayology.bundle import provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec, from_model_range
from rayology.models import Model, ModelConfig, Phase
from rayology.noise import Noise, NoiseSpec
from rayology.serving import predictor as predictor_module
from rayology.serving.predictor import Predictor, Threads, card_of
from rayology.serving.schemas import GenerateRequest, Limits
from rayology.serving.verbs import GENERATE
from rayology.training import evaluation
from rayology.training.evaluation import Evaluator

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=["data", "volumes"])
def dataset(request: pytest.FixtureRequest) -> PreparedDataset:
    """Images, and volumes."""
    dataset: PreparedDataset = request.getfixturevalue(request.param)
    return dataset


class Watched(Model):
    """Draws nothing, keeps what it is given, and remembers how many images it saw at once."""

    inference_modules = ()

    def __init__(self, image: ImageSpec) -> None:
        super().__init__(image)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.passes: list[int] = []

    def phases(self) -> tuple[Phase, ...]:
        raise NotImplementedError

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        return {"latent": NoiseSpec((4,))}

    def sample(self, noise: Noise, labels: Tensor) -> Tensor:
        self.passes.append(len(labels))
        return torch.zeros(len(noise["latent"]), *self.image.shape)

    def reconstruct(self, images: Tensor, labels: Tensor) -> Tensor:
        self.passes.append(len(labels))
        return images.clone()

    def bound_noise(self, particles: int = 1) -> Mapping[str, NoiseSpec]:
        del particles
        return self.sample_noise()

    def bits_per_dim(self, batch: Batch, noise: Noise) -> Tensor:
        self.passes.append(len(noise["latent"]))
        return torch.zeros(len(batch.labels))


def test_of_larger_images_fewer_are_drawn_and_two_at_least(
    small: Experiment, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Evaluator(small.seed, dataset, CPU).unseen
    # Constants; images that large take gigabytes.
    monkeypatch.setattr(evaluation, "SLICE", math.prod(dataset.info.image.shape) // 4)

    for most, expected in ((16, 4), (4, 2)):
        monkeypatch.setattr(evaluation, "MOST_FULL", most)
        monkeypatch.setattr(evaluation, "MOST_QUICK", most)
        evaluator = Evaluator(small.seed, dataset, CPU)
        for drawn in (evaluator.unseen, evaluator.few_unseen):
            assert torch.equal(drawn.images, whole.images[:expected])
        assert len(evaluator.few_reference.train) == expected

    assert len(whole.images) == len(dataset.split("validation")) > 4


@pytest.mark.slow
def test_no_more_values_pass_a_model_at_once_than_those_of_64_images_of_64x64(
    small: Experiment, volumes: PreparedDataset
) -> None:
    model, evaluator = Watched(volumes.info.image), Evaluator(small.seed, volumes, CPU, split="train")

    sampled = evaluator.sample(model, evaluator.unseen.labels)
    decoded = evaluator.reconstruct(model, evaluator.unseen)
    evaluator.quick(model)

    num_values = math.prod(volumes.info.image.shape)
    assert max(model.passes) == 64 * 64 * 64 // num_values < len(evaluator.unseen.labels)
    assert sum(model.passes) == 5 * len(evaluator.unseen.labels)
    assert sampled.shape == decoded.shape
    assert torch.equal(decoded, evaluator.unseen.images)


@pytest.mark.slow
def test_the_figures_do_not_depend_on_how_many_images_pass_at_once(
    small: Experiment, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MOST_FULL", 5)  # a constant; the similarity of volumes takes long
    model = small.model.build(dataset.info.image)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    whole = Evaluator(small.seed, dataset, CPU).full(model)

    in_parts = Evaluator(small.seed, dataset, CPU, values_at_once=2 * math.prod(dataset.info.image.shape)).full(model)

    assert in_parts == pytest.approx(whole, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("config", SMALL_MODELS, ids=name_of)
def test_an_evaluated_sample_is_what_a_server_draws_for_its_seed_index_and_class(
    config: ModelConfig, small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small.patched({"seed": 7}).model_copy(update={"model": config})
    model, classes = config.build(data.info.image).eval(), data.info.image.classes
    for weight in model.parameters():  # an untrained network draws a flat image
        torch.nn.init.normal_(weight, std=0.15)
    origin = provenance_of(dataset=data.info.fingerprint, note="", seed=experiment.seed, steps=1)
    bundle = write_bundle(tmp_path / "bundle", experiment=experiment, model=model, metrics={}, provenance=origin)
    evaluator = Evaluator(experiment.seed, data, CPU)
    labels = evaluator.unseen.labels
    assert bundle.seed == 7
    card = card_of(bundle, model, version="v", limits=Limits(max_count=1, max_body_bytes=1))
    monkeypatch.setattr(predictor_module, "EXACT_BATCH", len(labels))  # so many as are evaluated at once
    predictor = Predictor(bundle.build(), card, Threads.start(1), batch_size=4)

    evaluated = from_model_range(evaluator.sample(model, labels), model.image.values).numpy()

    for index, label in enumerate(labels.tolist()):
        asked = GenerateRequest(count=1, seed=bundle.seed, first_index=index, class_name=classes[label])
        served = asyncio.run(predictor.answer(GENERATE, asked, exact=True))
        assert np.array_equal(served.images[0], evaluated[index])
        assert (served.seed, served.first_index, served.classes) == (7, index, (classes[label],))
    assert len({image.tobytes() for image in evaluated}) == len(labels)


def test_an_evaluation_of_a_part_says_of_how_many_images(
    small: Experiment, data: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small.model.build(data.info.image)
    whole = Evaluator(small.seed, data, CPU).full(model)
    monkeypatch.setattr(evaluation, "MOST_FULL", 3)

    part = Evaluator(small.seed, data, CPU).full(model)

    assert part["num_images"] == 3
    assert part.keys() - whole.keys() == {"num_images"}


def test_more_particles_tighten_the_bound_of_every_evaluation(small: Experiment, data: PreparedDataset) -> None:
    torch.manual_seed(0)
    model = small.model.build(data.info.image)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)

    bounds = [Evaluator(0, data, CPU, particles=count).full(model, only=["bound"])["bound"] for count in (1, 100)]

    assert bounds[0] > bounds[1] + 0.001
