"""A real archive gives back what was stored in it, byte by byte."""

import csv
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

from rayology.data import DicomwebConfig, FolderConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources.dicomweb import DicomwebSource
from rayology.data.sources.folder import FolderSource
from rayology.data.sources.source import Item
from rayology.errors import DataError, SourceError

ORTHANC = shutil.which("Orthanc")
LAB = ("lab", "lab")
PLUGINS = Path("/usr/share/orthanc/plugins")
UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),  # the zoo holds UIDs with letters
    pytest.mark.slow,
    pytest.mark.skipif(
        ORTHANC is None or not (PLUGINS / "libOrthancDicomWeb.so").exists(),
        reason="no Orthanc here; apt-get install orthanc orthanc-dicomweb",
    ),
]


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an Orthanc of its own, and give the address of its DICOMweb service."""
    folder = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_ports(2)
    settings = {
        "Plugins": [str(PLUGINS)],
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http,
        "HttpBindAddresses": ["127.0.0.1"],
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"lab": "lab"},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), folder / "orthanc.json"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{http}/dicom-web"
        wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/studies", auth=LAB, trust_env=False, timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("Orthanc did not start")


@pytest.fixture(scope="module")
def stored(orthanc: str, shared_data: Path, head_folder: Path) -> dict[str, Path]:
    """Store a series and up to three files of each transfer syntax of the zoo; return those that Orthanc took."""
    zoo = shared_data / "dicom_zoo"
    files: dict[str, Path] = {}
    of_syntax: Counter[str] = Counter()
    for row in csv.DictReader((zoo / "zoo_index.csv").read_text().splitlines()):
        file, syntax = zoo / row["path"], row["ts_uid"]
        if row["decode"] == "ok" and row["part10_preamble"] == "1" and of_syntax[syntax] < 3:
            header = dcmread(file, stop_before_pixels=True, specific_tags=UIDS)
            # The same image is in the zoo in several syntaxes; an archive keeps the first of one name.
            if header.get("SOPInstanceUID") not in files and store(orthanc, file):
                files[header.SOPInstanceUID] = file
                of_syntax[syntax] += 1
    assert len(of_syntax) >= 12
    for file in head_folder.rglob("*.dcm"):
        assert store(orthanc, file)
        files[dcmread(file, stop_before_pixels=True).SOPInstanceUID] = file
    return files


def store(url: str, file: Path) -> bool:
    """Store a file as it is by STOW-RS (DICOM PS3.18 10.5); say whether the archive took it."""
    answer = httpx.post(
        f"{url}/studies",
        auth=LAB,
        trust_env=False,
        content=b"--border\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--border--",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=border'},
        timeout=60,
    )
    return answer.is_success


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYOLOGY_DICOMWEB_TOKEN", raising=False)
    monkeypatch.setenv("RAYOLOGY_DICOMWEB_USER", "lab")
    monkeypatch.setenv("RAYOLOGY_DICOMWEB_PASSWORD", "lab")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetched(root: Path, url: str, **query: object) -> dict[str, Path]:
    """Return the files that came by the UIDs in them."""
    items = DicomwebConfig.model_validate({"url": url} | query).build(root).items()
    return {dcmread(item.path, stop_before_pixels=True).SOPInstanceUID: item.path for item in items}


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {uid: hashlib.sha256(file.read_bytes()).hexdigest() for uid, file in files.items()}


def test_what_comes_is_byte_by_byte_what_was_stored(orthanc: str, stored: dict[str, Path], tmp_path: Path) -> None:
    assert digests(fetched(tmp_path, orthanc)) == digests(stored)


def test_the_reader_sees_no_difference(orthanc: str, stored: dict[str, Path], tmp_path: Path) -> None:
    remote = DicomwebConfig(url=orthanc).build(tmp_path)
    local = FolderConfig(path="unused").build(tmp_path)
    uids = {hashlib.sha256(uid.encode()).hexdigest(): uid for uid in stored}

    for item in remote.items():
        assert outcome(remote, item) == outcome(local, Item(stored[uids[item.path.stem]]))


def outcome(source: DicomwebSource | FolderSource, item: Item) -> list[bytes] | str:
    """Return the pixels of a file, or why there are none."""
    try:
        return [example.instance.pixels.tobytes() for example in source.read(item)]
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("modality", ["CT", "MR", "US"])
def test_a_modality_is_found(orthanc: str, stored: dict[str, Path], tmp_path: Path, modality: str) -> None:
    expected = {
        uid for uid, file in stored.items() if dcmread(file, stop_before_pixels=True).get("Modality") == modality
    }

    assert expected
    assert set(fetched(tmp_path, orthanc, modality=modality)) == expected


def test_a_study_its_date_and_a_description_are_found(orthanc: str, stored: dict[str, Path], tmp_path: Path) -> None:
    headers = {uid: dcmread(file, stop_before_pixels=True) for uid, file in stored.items()}
    one = next(header for header in headers.values() if header.get("StudyDate") and header.get("SeriesDescription"))
    queries = {
        "study": ("StudyInstanceUID", one.StudyInstanceUID),
        "study_date": ("StudyDate", one.StudyDate),
        "series_description": ("SeriesDescription", one.SeriesDescription),
    }

    for name, (keyword, value) in queries.items():
        expected = {uid for uid, header in headers.items() if header.get(keyword) == value}
        assert set(fetched(tmp_path, orthanc, **{name: value})) == expected


@pytest.mark.usefixtures("stored")
def test_a_wrong_password_is_refused(orthanc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYOLOGY_DICOMWEB_PASSWORD", "wrong")

    with pytest.raises(SourceError, match="refuses the credentials"):
        DicomwebConfig(url=orthanc).build(tmp_path).items()


def test_a_service_that_is_not_there_says_so(orthanc: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"answers HTTP 404; check source\.url"):
        DicomwebConfig(url=orthanc.replace("dicom-web", "elsewhere")).build(tmp_path).items()


@pytest.mark.usefixtures("stored")
def test_an_archive_becomes_the_dataset_that_its_files_become(orthanc: str, head_folder: Path, tmp_path: Path) -> None:
    study = str(dcmread(next(head_folder.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)

    remote = prepare(DicomwebConfig(url=orthanc, study=study), PreparationConfig(), tmp_path / "remote")
    local = prepare(FolderConfig(path=head_folder), PreparationConfig(), tmp_path / "local")

    assert remote.info.counts == local.info.counts
    assert remote.info.image == local.info.image
