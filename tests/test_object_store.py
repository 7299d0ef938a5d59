"""Images and models in an object store, through Arrow's own client and S3's protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.bodies import WriteDicom, body
from tests.s3_server import s3_server

from rayology.bundle import Bundle
from rayology.data import FolderConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.store import Store

BUNDLE = Path(__file__).parent / "fixtures" / "format_1" / "vae"


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {"bucket/other": b""}


@pytest.fixture
def query(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "anybody")
    with s3_server(objects) as query:
        yield query


@pytest.mark.slow
def test_images_are_prepared_from_a_bucket_and_found_again_and_a_changed_one_is_seen(
    objects: dict[str, bytes], query: str, write_dicom: WriteDicom, tmp_path: Path
) -> None:
    for patient in range(6):
        file = write_dicom(tmp_path / "slice.dcm", body(patient), PatientID=str(patient))
        objects[f"bucket/images/{patient}.dcm"] = file.read_bytes()
    source, preparation = FolderConfig(path=f"s3://bucket/images?{query}"), PreparationConfig(size=16)

    first, again = (prepare(source, preparation, tmp_path / "root") for _ in range(2))
    objects["bucket/images/0.dcm"] = objects["bucket/images/1.dcm"][:-300]
    changed = prepare(source, preparation, tmp_path / "root")

    assert (first.info.counts.images, first.reused, again.reused) == (6, False, True)
    assert again.path == first.path
    assert changed.path != first.path


@pytest.mark.slow
def test_a_model_is_published_to_a_bucket_and_its_champion_fetched_as_it_was(
    objects: dict[str, bytes], query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where fetched bundles lie
    bundle, store = Bundle.load(BUNDLE), Store(f"s3://bucket/models?{query}")

    version = store.publish(bundle)
    store.set_champion(bundle.manifest.name, version)
    other = Store(f"s3://bucket/models?{query}")
    fetched = Bundle.load(other.fetch(bundle.manifest.name, other.champion(bundle.manifest.name)))

    assert other.models() == [bundle.manifest.name]
    assert fetched.fingerprint == bundle.fingerprint
    assert f"bucket/models/{bundle.manifest.name}/{version}/weights.safetensors" in objects
    for name, weight in fetched.weights().items():
        assert weight.equal(bundle.weights()[name]), name


def test_records_of_sweeps_are_kept_in_a_bucket_and_are_not_models(objects: dict[str, bytes], query: str) -> None:
    store = Store(f"s3://bucket/models?{query}")
    assert store.records() == {}

    for content in (b"{}", b"[]"):
        store.keep_record("lung-1", content)
    store.keep_record("lung-2", b"1")

    assert Store(f"s3://bucket/models?{query}").records() == {"lung-1": b"[]", "lung-2": b"1"}
    assert objects["bucket/models/sweeps/lung-1.json"] == b"[]"
    assert store.models() == []
