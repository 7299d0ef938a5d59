"""Little DICOM files, and the folders of real ones."""

import itertools
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tests.data.bodies import WriteDicom, body
from tests.data.dicomweb_server import Archive


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
            "StudyInstanceUID": "2.25.1",
            "SeriesInstanceUID": "2.25.2",
            "PatientID": "anyone",
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
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes rights that this user has not")
    yield tmp_path / "disk"
    subprocess.run(["umount", tmp_path / "disk"], check=True)


@pytest.fixture
def folder(tmp_path: Path, write_dicom: WriteDicom) -> Path:
    """Six patients of two classes, two slices each."""
    for patient, slice_ in itertools.product(range(6), range(2)):
        write_dicom(
            tmp_path / "images" / "ab"[patient % 2] / f"{patient}-{slice_}.dcm",
            body(patient),
            PatientID=f"Doe{patient}",
            PixelSpacing=[0.5, 0.5],
        )
    return tmp_path / "images"


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"RAYOLOGY_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
