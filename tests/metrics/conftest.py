"""Images by class and in [-1, 1]: real ones, and drawn ones; interleaved, so that every third is a fair draw."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from PIL import Image
from torch import Tensor

from rayology.phantom import draw_patient

PER_CLASS = 384


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads for such small images wait for each other on a busy machine, many times as long as they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def head_and_chest(shared_data: Path) -> tuple[Tensor, Tensor]:
    """CT slices of heads and of chests, 64 x 64."""
    archive = shared_data / "mednist" / "mednist_18000.zip"
    if not archive.is_file():
        pytest.skip(f"no real images at {archive}")
    with zipfile.ZipFile(archive) as opened:
        return _slices(opened, "HeadCT"), _slices(opened, "ChestCT")


@pytest.fixture(scope="session")
def chest_xrays(shared_data: Path) -> tuple[Tensor, Tensor]:
    """Chest X-rays without and with pneumonia, 28 x 28."""
    archive = shared_data / "pneumoniamnist" / "pneumoniamnist.npz"
    if not archive.is_file():
        pytest.skip(f"no real images at {archive}")
    with np.load(archive) as opened:
        images, labels = opened["train_images"], opened["train_labels"][:, 0]
    shuffled = np.random.default_rng(0).permutation(len(images))
    images, labels = images[shuffled], labels[shuffled]
    return _to_model_range(images[labels == 0]), _to_model_range(images[labels == 1])


@pytest.fixture(scope="session")
def phantom() -> tuple[Tensor, Tensor]:
    """CT slices of the phantom on its back and on its belly, 32 x 32; each of another patient.

    Its classes of lesions are too alike for so few images: losing one moves mmd by 0.01, and chance by 0.006.
    """
    hu = [draw_patient((0, patient), lesion="nodule", size=64, slices=1).hu for patient in range(PER_CLASS)]
    supine = F.avg_pool2d(torch.from_numpy(np.stack(hu)).float().clip(-1000.0, 1000.0) / 1000.0, 2)
    return supine, supine.flip(2)


@pytest.fixture(scope="session")
def hippocampi(shared_data: Path) -> tuple[Tensor, Tensor]:
    """MR volumes of the front and of the back of the hippocampus, 16 x 16 x 16, four of a patient.

    Every third comes from the same patients, so that three sets drawn in turn share none.
    """
    files = sorted((shared_data / "seg_hippocampus_nifti" / "images").glob("*.nii.gz"))[:99]
    if not files:
        pytest.skip(f"no real volumes in {shared_data / 'seg_hippocampus_nifti'}")
    brains = [np.asanyarray(nibabel.load(file).dataobj).astype(np.float32) for file in files]
    scaled = [torch.from_numpy(brain / np.percentile(brain, 99)).clip(0, 1) * 2 - 1 for brain in brains]
    ends = (slice(16), slice(-16, None))
    front, back = (
        torch.stack([brain[across, along, up] for across in ends for up in ends for brain in scaled])[:, None]
        for along in (slice(-20, -4), slice(4, 20))
    )
    return front, back


def _slices(archive: zipfile.ZipFile, folder: str) -> Tensor:
    files = sorted(name for name in archive.namelist() if name.startswith(f"{folder}/") and name.endswith(".jpeg"))
    chosen = files[:: len(files) // PER_CLASS][:PER_CLASS]
    return _to_model_range(np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in chosen]))


def _to_model_range(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1
