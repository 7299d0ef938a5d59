"""Laws of splitting: no patient twice, no anatomy twice, no split empty."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rayology.data.splits import (
    SPLITS,
    Place,
    Shares,
    SplitName,
    leaking,
    split_by_block,
    split_by_patient,
    split_images,
)
from rayology.errors import SourceError

SHARES = Shares(validation=0.15, test=0.15)
AXIAL = (0.0, 0.0, 1.0)
SAGITTAL = (1.0, 0.0, 0.0)


def stack(spacing_mm: float, count: int, patient: str = "p") -> list[Place]:
    return [Place(patient, "", AXIAL, spacing_mm * index) for index in range(count)]


@pytest.mark.parametrize("count", [3, 4, 7, 10, 100])
def test_no_split_is_empty_from_three_patients_up(count: int) -> None:
    split = split_by_patient({f"{number:03}": "" for number in range(count)}, SHARES)

    sizes = Counter(split.values())
    assert set(sizes) == set(SPLITS)
    assert sizes["train"] >= sizes["validation"]
    assert sizes["validation"] == sizes["test"] == max(1, round(0.15 * count))


def test_each_class_with_three_patients_is_in_every_split() -> None:
    labels = {f"{number:03}": "abc"[number % 3] for number in range(9)} | {"x": "rare"}

    split = split_by_patient(labels, SHARES)

    for name, label in itertools.product(SPLITS, "abc"):
        assert any(split[patient] == name and labels[patient] == label for patient in labels)
    assert split["x"] == "train"


def test_classes_with_few_patients_are_split_together() -> None:
    split = split_by_patient({"1": "a", "2": "a", "3": "b", "4": "b"}, SHARES)

    assert set(split.values()) == set(SPLITS)


def test_the_order_of_patients_changes_nothing() -> None:
    labels = {f"{number * 37 % 101:03}": "ab"[number % 2] for number in range(40)}

    assert split_by_patient(dict(reversed(labels.items())), SHARES) == split_by_patient(labels, SHARES)


def test_all_images_of_a_patient_are_in_one_split() -> None:
    places = [Place(str(number % 5), "ab"[number % 2], None, None) for number in range(50)]

    splits = split_images(places, SHARES, gap_mm=5)

    for patient in "01234":
        assert len({split for place, split in zip(places, splits, strict=True) if place.patient == patient}) == 1


@pytest.mark.parametrize(("spacing_mm", "count"), [(0.7, 384), (1.0, 60), (3.0, 40), (5.0, 28), (7.0, 3), (8.0, 5)])
def test_blocks_of_a_single_patient_lie_a_gap_apart(spacing_mm: float, count: int) -> None:
    places = stack(spacing_mm, count)

    splits = split_images(places, SHARES, gap_mm=5)

    assert set(splits) >= set(SPLITS)
    for (one, split), (other, different) in itertools.combinations(zip(places, splits, strict=True), 2):
        if split and different and split != different:
            assert abs((one.position_mm or 0) - (other.position_mm or 0)) >= 5 - 0.01


def test_blocks_are_contiguous_and_held_out_inside_the_body() -> None:
    splits = split_images(stack(1.0, 200), SHARES, gap_mm=5)

    runs = [name for name, _ in itertools.groupby(splits) if name]
    assert runs == ["train", "validation", "train", "test", "train"]
    assert splits.count(None) == 16


def test_slices_further_apart_than_the_gap_are_all_kept() -> None:
    assert None not in split_images(stack(5.0, 30), SHARES, gap_mm=5)


def test_series_of_one_patient_share_its_blocks() -> None:
    first, second = (
        stack(1.0, 100),
        [replace(place, position_mm=index + 0.5) for index, place in enumerate(stack(1, 99))],
    )

    splits = split_images([*first, *second], SHARES, gap_mm=5)

    by_position = sorted(zip([*first, *second], splits, strict=True), key=lambda pair: pair[0].position_mm or 0)
    runs = [name for name, _ in itertools.groupby(split for _, split in by_position) if name]
    assert runs == ["train", "validation", "train", "test", "train"]


def test_only_the_largest_frame_of_reference_of_a_patient_is_cut() -> None:
    large = [replace(place, frame_of_reference="before") for place in stack(1.0, 100)]
    moved = [replace(place, frame_of_reference="after") for place in stack(1.0, 90)]
    nowhere = [Place("p", frame_of_reference="scout")] * 200

    splits = split_images([*moved, *nowhere, *large], SHARES, gap_mm=5)

    assert splits[:290] == [None] * 290
    assert set(splits[290:]) >= set(SPLITS)


def test_slices_of_several_frames_of_reference_are_not_one_span() -> None:
    places = [
        replace(place, frame_of_reference=str(number), position_mm=number * 1000.0 + (place.position_mm or 0))
        for number in range(3)
        for place in stack(1.0, 4)
    ]

    with pytest.raises(SourceError, match=r"over 3\.0 mm of one frame of reference"):
        split_images(places, SHARES, gap_mm=5)


def test_slices_across_the_blocks_are_dropped() -> None:
    across = [Place("p", "", SAGITTAL, float(index)) for index in range(10)]
    nowhere = [Place("p", "", None, None)]

    splits = split_images([*stack(1.0, 100), *across, *nowhere], SHARES, gap_mm=5)

    assert splits[100:] == [None] * 11


def test_each_of_two_patients_is_cut_by_itself() -> None:
    splits = split_images([*stack(1.0, 100, "p"), *stack(1.0, 100, "q")], SHARES, gap_mm=5)

    assert splits[:100] == splits[100:]
    assert set(splits) >= set(SPLITS)


def test_a_patient_too_short_for_blocks_trains() -> None:
    splits = split_images([*stack(1.0, 100, "p"), *stack(1.0, 2, "q")], SHARES, gap_mm=5)

    assert splits[100:] == ["train", "train"]


def test_one_patient_without_positions_is_refused_with_what_to_add() -> None:
    with pytest.raises(SourceError, match=r"no slice says where it lies.*add patients"):
        split_by_block([Place("p")] * 100, SHARES, gap_mm=5)


def test_one_patient_too_short_for_blocks_is_refused_with_what_to_lower() -> None:
    with pytest.raises(SourceError, match=r"over 3\.0 mm .* lower preparation\.gap_mm"):
        split_by_block(stack(1.0, 4), SHARES, gap_mm=5)


def test_any_positions_give_separate_blocks() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        positions = np.sort(generator.uniform(0, 150, generator.integers(30, 80)))
        places = [Place("p", "", AXIAL, float(position)) for position in positions]
        splits = split_by_block(places, SHARES, gap_mm=3)
        held = {name: positions[[split == name for split in splits]] for name in SPLITS}
        for one, other in itertools.combinations(SPLITS, 2):
            assert np.abs(held[one][:, None] - held[other]).min() >= 3 - 0.01


def repeat(split: SplitName, times: int) -> list[SplitName]:
    return [split] * times


def declared(*splits: SplitName | None, official: bool = False) -> list[Place]:
    """Return an image of its own patient for each split."""
    return [Place(f"{number:03}", declared=split, official=official) for number, split in enumerate(splits)]


def test_declared_splits_are_kept() -> None:
    places = declared("test", "train", "validation", "train")

    assert split_images(places, SHARES, gap_mm=5) == ["test", "train", "validation", "train"]


def test_a_missing_split_is_drawn_from_the_training_patients() -> None:
    places = declared(*repeat("train", 80), *repeat("test", 20))

    splits = split_images(places, SHARES, gap_mm=5)

    assert splits[80:] == ["test"] * 20
    assert Counter(splits[:80]) == {"train": 68, "validation": 12}


def test_a_patient_in_two_splits_that_the_user_made_is_refused() -> None:
    places = [*declared("train", "validation", "test"), Place("000", declared="test")]

    with pytest.raises(SourceError, match="2 images are of a patient in another split"):
        split_images(places, SHARES, gap_mm=5)


def test_a_patient_in_two_official_splits_stays_and_is_counted() -> None:
    places = [*declared("train", "validation", "test", official=True), Place("000", declared="test", official=True)]

    assert split_images(places, SHARES, gap_mm=5) == ["train", "validation", "test", "test"]
    assert leaking(places) == {0, 3}


def test_what_leaks_is_not_drawn_from() -> None:
    places = [
        *declared(*repeat("train", 40), *repeat("test", 4), official=True),
        *[Place(f"{number:03}", declared="test", official=True) for number in range(30)],
    ]

    splits = split_images(places, SHARES, gap_mm=5)

    assert splits[:30] == ["train"] * 30
    assert splits[30:40].count("validation") == 2


def test_half_declared_splits_are_refused() -> None:
    with pytest.raises(SourceError, match="1 of 3 images have no split"):
        split_images(declared("train", "test", None), SHARES, gap_mm=5)


def test_splits_without_training_images_are_refused() -> None:
    with pytest.raises(SourceError, match="too few images train to draw train and validation from"):
        split_images(declared("test", "test"), SHARES, gap_mm=5)


@pytest.mark.parametrize("num_layers", [7, 9, 14, 30])
def test_a_few_layers_of_large_patches_are_held_out_as_nearly_as_they_can_be(num_layers: int) -> None:
    starts = [24.0 * layer for layer in range(num_layers) for _ in range(20)]
    places = [Place("one", normal=AXIAL, position_mm=start) for start in starts]

    split = split_by_block(places, Shares(0.15, 0.15), gap_mm=24.0 + 5.0)

    counts = Counter(split)
    assert counts["train"] > counts["validation"] > 0
    assert counts["train"] > counts["test"] > 0
    placed = [(start, name) for start, name in zip(starts, split, strict=True) if name]
    assert all(abs(one - other) >= 29.0 for (one, a), (other, b) in itertools.combinations(set(placed), 2) if a != b)
