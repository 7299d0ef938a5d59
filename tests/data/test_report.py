"""The page that shows what a preparation made of a source."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.peaks import peak_bytes

from rayology.data import FolderConfig, PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data import report as report_module
from rayology.data.prepare import prepare
from rayology.data.report import report_file, write_report


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    root = tmp_path_factory.mktemp("report")
    drawn = PhantomConfig(patients=9, slices=3, size=32).build(root).items()
    folder = drawn[0].path.parents[2]
    (folder / "notes.txt").write_text("no image")
    return prepare(FolderConfig(path=folder), PreparationConfig(size=32), root)


def page(data: PreparedDataset) -> str:
    return report_file(data).read_text(encoding="utf-8")


def test_the_page_counts_images_refusals_and_splits(data: PreparedDataset) -> None:
    shown = page(data)

    assert '<td>images</td><td class="number">27</td>' in shown
    assert '<td>32 x 32</td><td class="number">27</td>' in shown
    assert "NotDicom: has no DICOM preamble" in shown
    assert sum(data.info.found["transfer syntax"].values()) == 27


def test_the_page_shows_training_images_that_are_the_datasets(data: PreparedDataset) -> None:
    encoded = re.search(r"data:image/png;base64,([^\"]+)", page(data))
    assert encoded

    sheet = Image.open(io.BytesIO(base64.b64decode(encoded[1])))

    assert sheet.width % 32 == 0
    low, high = sheet.getextrema()
    assert (low, high) != (0, 0)


def test_the_page_is_titled_with_its_source_and_its_histogram_has_axes_and_every_split(data: PreparedDataset) -> None:
    shown = page(data)

    assert f"<h1>CT from folder: dataset {data.info.fingerprint}</h1>" in shown
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", shown)
    assert {"train", "validation", "test", "HU", "-1000", "0", "1000", "share of the pixels, in each of 64 bins"} <= {
        *texts
    }
    assert any(text.startswith("the first bin, cut off, holds ") for text in texts)
    assert len(re.findall("<polyline", shown)) == 3


def test_the_page_names_neither_files_nor_patients_and_its_owner_alone_may_read_it(data: PreparedDataset) -> None:
    shown = page(data)

    assert "notes.txt" not in shown
    assert "PHANTOM" not in shown.upper()
    assert report_file(data).stat().st_mode & 0o077 == 0


def test_what_a_source_calls_its_classes_cannot_change_the_page(data: PreparedDataset, tmp_path: Path) -> None:
    renamed = data.info.model_copy(update={"note": "<script>alert(1)</script>", "fingerprint": "renamed"})
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "renamed").symlink_to(data.path)

    write_report(replace(data, path=tmp_path / "datasets" / "renamed", info=renamed))

    assert "<script>" not in (tmp_path / "reports" / "renamed.html").read_text(encoding="utf-8")


def test_the_page_is_the_same_however_few_images_are_counted_together(
    data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets").mkdir()
    elsewhere = replace(data, path=tmp_path / "datasets" / data.path.name)
    elsewhere.path.symlink_to(data.path)
    monkeypatch.setattr(report_module, "VALUES_AT_ONCE", 3 * 32 * 32)  # a constant; that many volumes take gigabytes

    write_report(elsewhere)

    assert page(elsewhere) == page(data)


def test_only_a_part_of_what_is_counted_lies_in_memory(data: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    train = data.split("train")
    many = replace(train, _rows=train._rows.repeat(100))  # the same images again and again, for a larger dataset
    monkeypatch.setattr(report_module, "VALUES_AT_ONCE", 8 * 32 * 32)

    peak = peak_bytes(lambda: report_module._counts(many))

    assert peak < many.stored(np.arange(len(many))).nbytes / 2
