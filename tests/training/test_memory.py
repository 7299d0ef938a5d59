"""Whether a step fits is known before the first; what does not fit is refused or cut."""

import re
from pathlib import Path

import pytest
import torch
from tests.training.recipes import CPU, SPEC
from tests.training.toys import SegmenterConfig

from rayology.data import PreparedDataset
from rayology.errors import OutOfMemory, TrainingError
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.training import memory, worker
from rayology.training.checkpoint import newest
from rayology.training.gradients import ALONE
from rayology.training.loop import Training
from rayology.training.memory import Footprint, cut_to_fit, footprint, free_memory
from rayology.training.worker import train_here

MEBIBYTE = 2**20


def free(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    # How much this machine has free changes.
    monkeypatch.setattr(memory, "free_memory", lambda _: float(num_bytes))


def cut(experiment: Experiment, folder: Path, *, begins: bool = True, image: ImageSpec = SPEC) -> Experiment:
    return cut_to_fit(experiment, image, CPU, folder, ALONE, begins=begins)


def test_bytes_are_counted_while_they_are_used() -> None:
    def chain() -> None:
        torch.add(torch.add(kept, 1), 1).view(2, -1).sum()

    with memory._watching(CPU) as most:
        kept = torch.zeros(MEBIBYTE, dtype=torch.uint8)
        before = most(lambda: None)
        peak = most(chain)
        after = most(lambda: None)

    assert (before, after) == (MEBIBYTE, MEBIBYTE)
    assert peak - MEBIBYTE * 3 <= 8, "the sum has a number"


def test_what_a_step_takes_is_that_of_its_model_and_changes_no_random_number(small: Experiment) -> None:
    before = torch.get_rng_state()

    narrow, wide = (
        footprint(small.patched({"model": {"encoder": {"width": width}, "decoder": {"width": width}}}), SPEC, CPU)
        for width in (8, 32)
    )

    assert wide.fixed > 4 * narrow.fixed
    assert wide.row > narrow.row > 0
    assert torch.get_rng_state().equal(before)


def test_masks_are_there_if_the_model_learns_them(small: Experiment) -> None:
    segmenter = small.model_copy(update={"model": SegmenterConfig()})

    assert footprint(segmenter, SPEC.patched({"masks": ["lung"]}), CPU).row > 0


def test_a_step_that_fits_is_left_as_it_is(small: Experiment, tmp_path: Path) -> None:
    assert cut(small, tmp_path) == small
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused_with_what_would(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = small.patched({"schedule": {"batch_size": 2**16}})
    free(monkeypatch, 100 * MEBIBYTE)

    with pytest.raises(OutOfMemory, match=r"^a step of schedule.batch_size 65536 and scaling.microbatches 1") as error:
        cut(large, tmp_path)

    advised = re.search(r"write schedule.batch_size (\d+), or scaling.microbatches (\d+)$", str(error.value))
    assert advised
    batch_size, pieces = map(int, advised.groups())
    assert cut(large.patched({"schedule": {"batch_size": batch_size}}), tmp_path)
    assert cut(large.patched({"scaling": {"microbatches": pieces}}), tmp_path)
    for patch in ({"schedule": {"batch_size": batch_size + 1}}, {"scaling": {"microbatches": pieces // 2}}):
        with pytest.raises(OutOfMemory):
            cut(large.patched(patch), tmp_path)


def test_a_batch_whose_images_alone_do_not_fit_is_refused_even_if_it_may_be_cut(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absurd = {"schedule": {"batch_size": 2**20}, "scaling": {"out_of_memory": "split"}}
    free(monkeypatch, 2**29)

    with pytest.raises(OutOfMemory, match=r"takes [\d,.]+ GiB of memory, and a worker has [\d.]+; write schedule"):
        cut(small.patched(absurd), tmp_path)


def test_a_model_that_does_not_fit_is_refused(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="write a smaller model, or prepare smaller images"):
        cut(small, tmp_path)

    def full(*_: object) -> Footprint:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(memory, "footprint", full)  # only a GPU raises it
    with pytest.raises(OutOfMemory, match="the model alone takes more memory than there is"):
        cut(small, tmp_path)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_cut_stays_so_and_ends_with_the_bits_of_one_that_asked_for_it(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = small.patched({"schedule": {"steps": 2}, "scaling": {"out_of_memory": "split"}})
    taken = footprint(quick, data.info.image, CPU)
    free(monkeypatch, taken.peak(quick.patched({"scaling": {"microbatches": 4}})))

    train_here(quick, data, tmp_path / "cut", report=lambda _: None, device=CPU)
    free(monkeypatch, 2**60)
    resumed = cut(quick, tmp_path / "cut", begins=False, image=data.info.image)
    asked = quick.patched({"scaling": {"microbatches": 4}})
    train_here(asked, data, tmp_path / "asked", report=lambda _: None, device=CPU)

    assert resumed == asked
    files = [newest(tmp_path / name / "checkpoints") for name in ("cut", "asked")]
    assert files[0] is not None
    assert files[1] is not None
    assert files[0].name == files[1].name


@pytest.mark.usefixtures("one_thread")
def test_a_step_that_runs_out_of_memory_says_what_to_lower_or_is_cut_when_it_starts_again(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Experiment, __: int, rows: slice, batch: Batch) -> Batch:
        if rows.stop - rows.start > 4:
            raise torch.OutOfMemoryError
        return batch

    monkeypatch.setattr(worker, "augmented", full)  # only a GPU raises it
    quick = small.patched({"schedule": {"steps": 2}})
    with pytest.raises(OutOfMemory, match=r"lower schedule\.batch_size, such as to 4, or scaling\.microbatches 2$"):
        train_here(quick, data, tmp_path / "stop", report=lambda _: None, device=CPU)
    odd = quick.patched({"schedule": {"batch_size": 9}})
    with pytest.raises(OutOfMemory, match=r"such as to 4$"):
        train_here(odd, data, tmp_path / "odd", report=lambda _: None, device=CPU)

    split = quick.patched({"scaling": {"out_of_memory": "split"}})
    with pytest.raises(TrainingError, match="ran out of memory; it goes on with 2 microbatches"):
        train_here(split, data, tmp_path / "split", report=lambda _: None, device=CPU)
    assert train_here(split, data, tmp_path / "split", report=lambda _: None, device=CPU).step == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 950 - 400),
        ({"memory.max": "max"}, 950 - 400),
        ({"memory.max": "512000", "memory.current": "204800", "memory.stat": "anon 1\ninactive_file 102400\n"}, 375),
        (
            {
                "memory/memory.limit_in_bytes": "512000",
                "memory/memory.usage_in_bytes": "204800",
                "memory/memory.stat": "inactive_file 5\ntotal_inactive_file 102400\n",
            },
            375,
        ),
    ],
)
def test_what_is_free_is_what_the_machine_and_the_container_leave_below_rays_limit(
    files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  600 kB\n")
    for name, content in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    assert free_memory(CPU, root=tmp_path) / 1024 == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_no_step_that_is_taken_to_measure_is_larger_than_one_of_the_training(
    batch_size: int, small: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    step = memory._step

    def counted(experiment: Experiment, training: Training, count: int) -> None:
        taken.append(count)
        step(experiment, training, count)

    monkeypatch.setattr(memory, "_step", counted)
    experiment = small.patched({"schedule": {"batch_size": batch_size}})

    found = footprint(experiment, SPEC, CPU)

    assert max(taken) == batch_size
    assert 1e5 < found.peak(experiment) < 1e8
