"""A path or a URI names a place."""

from datetime import timedelta
from pathlib import Path

import pytest

from rayology.errors import StoreError
from rayology.store import Store
from rayology.uri import located


@pytest.mark.parametrize("spelling", ["{0}", "file://{0}", "~/images", "images"])
def test_a_folder_has_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    place = located(spelling.format(tmp_path / "images"))

    assert (place.path, place.is_remote) == (str(tmp_path / "images"), False)


def test_what_is_no_disk_is_remote() -> None:
    assert located("mock:///bucket/images").is_remote


def test_a_password_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="the URI holds a password; give it in the environment") as raised:
        located("s3://me:secret@bucket/images")
    with pytest.raises(StoreError, match="the URI holds a password") as refused:
        Store("s3://me:secret@bucket/images")

    assert "secret" not in f"{raised.value} {refused.value}"


def test_a_uri_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        located("nosuch://place")


@pytest.mark.parametrize("more", ["", "?scheme=http", "?retry_limit_seconds=7"])
def test_google_is_not_asked_for_ever(more: str) -> None:
    files = located(f"gs://anonymous@bucket/images{more}").files

    _, (options,) = files.__reduce__()  # Arrow shows it nowhere else
    assert options["retry_time_limit"] == timedelta(seconds=7 if "7" in more else 60)
