"""Folders of little DICOM files, an archive of them, and a small disk."""

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.bodies import WriteDicom, body
from tests.data.dicomweb_server import Archive


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
