"""Pseudonyms: stable under one key, useless without it."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rayology.data.identity import Identity, kept_key, pseudonyms

JANE = Identity("4711", "ward", "2.25.1", "2.25.2", "2.25.3", "2.25.4")


def test_the_same_identity_has_the_same_pseudonyms_under_one_key() -> None:
    assert pseudonyms(JANE, b"key", seed=0) == pseudonyms(JANE, b"key", seed=0)


def test_another_key_gives_other_pseudonyms_but_the_same_draw() -> None:
    one, other = pseudonyms(JANE, b"key", seed=0), pseudonyms(JANE, b"other", seed=0)

    assert one.draw == other.draw
    assert not {one.patient, one.study, one.series} & {other.patient, other.study, other.series}


def test_another_seed_draws_anew() -> None:
    one, other = pseudonyms(JANE, b"key", seed=0), pseudonyms(JANE, b"key", seed=1)

    assert one.draw != other.draw
    assert one.patient == other.patient


def test_the_same_id_of_another_issuer_is_another_patient() -> None:
    other = replace(JANE, issuer="elsewhere")

    assert pseudonyms(JANE, b"key", seed=0).patient != pseudonyms(other, b"key", seed=0).patient


def test_a_picture_of_nobody_known_is_its_own_and_says_so() -> None:
    one, other = (pseudonyms(Identity(picture=name), b"key", seed=0) for name in ("a", "b"))

    assert one.patient != other.patient
    assert (one.has_patient, one.instance) == (False, "")
    assert pseudonyms(Identity(patient="4711", picture="a"), b"key", seed=0).has_patient


def test_without_an_id_the_study_is_the_patient() -> None:
    one = replace(JANE, patient="")
    other = replace(one, series="2.25.9")

    assert pseudonyms(one, b"key", seed=0).patient == pseudonyms(other, b"key", seed=0).patient
    assert pseudonyms(one, b"key", seed=0).patient != pseudonyms(replace(one, study="x"), b"key", seed=0).patient


def test_an_image_without_an_instance_uid_is_no_copy_of_another() -> None:
    assert pseudonyms(replace(JANE, instance=""), b"key", seed=0).instance == ""


def test_a_study_its_series_and_a_frame_of_reference_are_the_same_whoever_the_patient_is_said_to_be() -> None:
    one, other = (pseudonyms(identity, b"key", seed=0) for identity in (JANE, replace(JANE, patient="x", issuer="")))

    assert one.patient != other.patient
    assert (one.study, one.series, one.frame_of_reference) == (other.study, other.series, other.frame_of_reference)


def test_series_that_name_one_frame_of_reference_share_it() -> None:
    frame = pseudonyms(JANE, b"key", seed=0).frame_of_reference

    assert frame == pseudonyms(replace(JANE, study="x", series="y"), b"key", seed=0).frame_of_reference
    assert frame != pseudonyms(replace(JANE, frame_of_reference="x"), b"key", seed=0).frame_of_reference


@pytest.mark.parametrize("uid", ["", "0", "0.0.0", "N/A", "1", "3.4", "1.2.840.10008.1.4.1.1", "1.2.840.10008.1.2"])
def test_a_uid_that_is_missing_a_placeholder_or_the_standards_own_proves_nothing(uid: str) -> None:
    jane = replace(JANE, study=uid, frame_of_reference=uid)
    one, other = (pseudonyms(identity, b"key", seed=0) for identity in (jane, replace(jane, patient="x")))

    assert not {one.study, one.series, one.frame_of_reference} & {other.study, other.series, other.frame_of_reference}


def test_without_an_id_and_a_study_the_series_or_the_frame_of_reference_is_the_patient() -> None:
    nobody = Identity(study="0", frame_of_reference="2.25.4")
    identities = (nobody, replace(nobody, frame_of_reference="2.25.5"), replace(nobody, series="2.25.2"))

    assert len({pseudonyms(identity, b"key", seed=0).patient for identity in identities}) == 3


def test_a_series_that_names_no_frame_of_reference_has_its_own() -> None:
    nameless = replace(JANE, frame_of_reference="")
    frame = pseudonyms(nameless, b"key", seed=0).frame_of_reference

    assert frame == pseudonyms(replace(nameless, instance="x"), b"key", seed=0).frame_of_reference
    assert frame != pseudonyms(replace(nameless, series="x"), b"key", seed=0).frame_of_reference
    assert frame != pseudonyms(replace(nameless, study="x"), b"key", seed=0).frame_of_reference


def test_a_key_is_drawn_once_and_its_owner_alone_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "one.key"

    key = kept_key(file)

    assert key == kept_key(file)
    assert len(key) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key != kept_key(tmp_path / "keys" / "two.key")
