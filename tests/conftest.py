"""Fixtures that every test may use."""

import logging
import os
import runpy
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from zlib import crc32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.experiment import Experiment, ScheduleConfig, SearchConfig
from rayology.models import VaeConfig
from rayology.models.backbones import ResNetConfig

ROOT = Path(__file__).parents[1]
ANYONE = "anyone"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Let several threads for such small images not wait for each other: two runs of tests share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("RAYOLOGY_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set RAYOLOGY_DATA")
    return folder


def study_of(patient: str) -> str:
    return "2.25.1" if patient == ANYONE else f"2.25.1{crc32(patient.encode())}"


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    def write(path: Path, pixels: NDArray[np.generic], **attributes: object) -> Path:
        """Write one grey frame, or (frames, rows, columns); attributes beat the defaults, None removes one."""
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = attributes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
        bits = 8 * pixels.dtype.itemsize
        defaults: dict[str, object] = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": study_of(str(attributes.get("PatientID") or ANYONE)),
            "SeriesInstanceUID": "2.25.2",
            "PatientID": ANYONE,
            "Modality": "CT",
            "Rows": pixels.shape[-2],
            "Columns": pixels.shape[-1],
            "NumberOfFrames": pixels.shape[0] if pixels.ndim == 3 else None,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": int(str(attributes.get("BitsStored") or bits)) - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
            "PixelData": pixels.tobytes(),
        }
        for keyword, value in (defaults | attributes).items():
            if value is not None:
                setattr(dataset, keyword, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def brain_folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpacked(shared_data / "mr_t1_studyforrest" / "mr_t1_studyforrest_384.tar.xz", tmp_path_factory)


@pytest.fixture(scope="session")
def head_folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpacked(shared_data / "ct_head_ge" / "ct_head_ge_28.tar.xz", tmp_path_factory)


def _unpacked(archive: Path, factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp(archive.parent.name)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder


@pytest.fixture
def run_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., "CompletedProcess[str]"]]:
    """Run a script below ``jobs`` as its command line does, but in this process: a new one takes seconds to start."""
    loggers = [logging.getLogger(name) for name in ("rayology", "optuna", "ray.tune.analysis")]
    levels = [logger.level for logger in loggers]

    def run(script: str, *arguments: str | Path) -> "CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", [str(ROOT / "jobs" / script), *map(str, arguments)])
        status: object = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return CompletedProcess(sys.argv, int(str(status or 0)), said.out, said.err)

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    yield run
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def rayology(run_job: Callable[..., "CompletedProcess[str]"]) -> Callable[..., "CompletedProcess[str]"]:
    """Run a command as its command line does, in this process."""

    def run(*words: str | Path) -> "CompletedProcess[str]":
        return run_job("../platform/rayology/__main__.py", *words)

    return run


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def small(storage: Path) -> Experiment:
    """An experiment that trains in a second."""
    return Experiment(
        name="small",
        storage=storage,
        source=PhantomConfig(patients=12, slices=4, size=32),
        preparation=PreparationConfig(size=16),
        model=VaeConfig(encoder=ResNetConfig(width=8), decoder=ResNetConfig(width=8), latents=16),
        schedule=ScheduleConfig(steps=40, batch_size=8, evaluate_every=10, log_every=5, warmup_steps=5),
        search=SearchConfig(num_trials=3, startup_trials=2, grace_steps=10),
    )


@pytest.fixture(scope="session")
def data(small: Experiment) -> PreparedDataset:
    return prepare(small.source, small.preparation, small.storage)
