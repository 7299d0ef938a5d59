"""The table of attributes is the standard's, and what it does not list is kept by name."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag

from rayology.deidentify.generate import compact
from rayology.deidentify.profile import TABLE


def test_the_table_is_the_standards(shared_data: Path) -> None:
    rows = json.loads((shared_data / "standards" / "ps3.15_table_E.1-1.json").read_text())

    assert TABLE.read_text() == compact(rows)


def test_the_table_is_written_anew_by_one_command(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package's own table must stay as it is.
    monkeypatch.setattr("rayology.deidentify.profile.TABLE", tmp_path / "profile.tsv")
    monkeypatch.setattr("sys.argv", ["generate", str(shared_data / "standards" / "ps3.15_table_E.1-1.json")])
    monkeypatch.delitem(sys.modules, "rayology.deidentify.generate")

    runpy.run_module("rayology.deidentify.generate", run_name="__main__")

    assert (tmp_path / "profile.tsv").read_text() == TABLE.read_text()


def test_every_kept_keyword_is_an_attribute_that_the_table_does_not_list() -> None:
    listed = {line.split("\t")[0] for line in TABLE.read_text().splitlines()}
    names = {keyword_for_tag(int(tag, 16)) for tag in listed if not set("GX") & set(tag)}

    assert not names & set(TABLE.with_name("kept.txt").read_text().split())
