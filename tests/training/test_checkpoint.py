"""Checkpoints: what they hold, and which are refused."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.training.recipes import CPU, SPEC, assert_same, batches_of, ignore

from rayology.errors import TrainingError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.training import checkpoint
from rayology.training.loop import Training, fit


def test_a_training_resumed_from_a_checkpoint_ends_with_the_same_bits(
    experiment: Experiment, spec: ImageSpec, tmp_path: Path
) -> None:
    def keep_halfway(training: Training) -> None:
        if training.step == 3:
            checkpoint.save(training, tmp_path)

    whole = Training.start(experiment, spec, CPU)
    fit(experiment, whole, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=keep_halfway)
    resumed = Training.start(experiment.patched({"seed": 5}), spec, CPU)

    checkpoint.restore(resumed, tmp_path)
    fit(experiment, resumed, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=ignore)

    assert resumed.step == whole.step == 6
    assert_same(resumed, whole)


def test_a_checkpoint_with_the_earlier_name_of_a_buffer_is_read(experiment: Experiment, tmp_path: Path) -> None:
    gan = experiment.patched({"model": {"kind": "gan"}})
    checkpoint.save(Training.start(gan, SPEC, CPU), tmp_path)
    file = tmp_path / checkpoint.TENSORS
    written = load_file(file)
    save_file({name.replace(".adaptive.signs", ".adaptive.told_apart"): each for name, each in written.items()}, file)
    resumed = Training.start(gan.patched({"seed": 5}), SPEC, CPU)

    checkpoint.restore(resumed, tmp_path)

    assert_same(resumed, Training.start(gan, SPEC, CPU))


def test_a_checkpoint_of_another_model_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    checkpoint.save(Training.start(experiment, SPEC, CPU), tmp_path)
    other = Training.start(experiment.patched({"model": {"latents": 128}}), SPEC, CPU)

    with pytest.raises(TrainingError, match="no checkpoint of this experiment's model"):
        checkpoint.restore(other, tmp_path)


def test_a_folder_without_a_checkpoint_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        checkpoint.restore(Training.start(experiment, SPEC, CPU), tmp_path)
