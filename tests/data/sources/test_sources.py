"""What holds for every source: the members of the union are found, and each reads its own example."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.data.sources.examples import example_of

from rayology.config import Config, alternatives
from rayology.data import PreparationConfig, SourceConfig
from rayology.data.prepare import prepare
from rayology.data.sources.source import Example, Source
from rayology.data.splits import SPLITS
from rayology.errors import DataError, SourceError
from rayology.experiment import Experiment

CONFIGS = alternatives(SourceConfig)
WITH_TABLES = [config for config in CONFIGS if "table" in config.model_fields]
NAME = "Doe^Jane"


@dataclass(frozen=True)
class Sourced:
    """A source in a folder whose name is a patient's."""

    config: SourceConfig
    source: Source
    root: Path

    @property
    def files(self) -> list[Path]:
        items = self.source.items()
        return sorted({file for item in items for file in (item.path, *item.beside)})


def kind(config: type[Config]) -> str:
    return str(config.model_fields["kind"].default)


@pytest.fixture(params=CONFIGS, ids=kind)
def sourced(request: pytest.FixtureRequest, tmp_path: Path) -> Sourced:
    if "url" in request.param.model_fields:
        pytest.skip("reads from a service, which its own tests start")
    folder = tmp_path / NAME
    folder.mkdir()
    config = example_of(request.param, folder)
    root = tmp_path / "root"
    return Sourced(config, config.build(root), root)


def examples(source: Source) -> list[Example]:
    return [example for item in source.items() for example in source.read(item)]


def test_kinds_are_distinct() -> None:
    kinds = [kind(config) for config in CONFIGS]

    assert len(set(kinds)) == len(kinds) > 1


def test_an_experiment_takes_its_config(sourced: Sourced) -> None:
    experiment = Experiment(source=sourced.config)

    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_items_are_listed_alike_each_time_and_none_twice(sourced: Sourced) -> None:
    items = list(sourced.source.items())

    assert items == list(sourced.config.build(sourced.root).items())
    assert len(set(items)) == len(items) > 0


def test_images_have_shapes_and_values_as_promised(sourced: Sourced) -> None:
    found = examples(sourced.source)

    assert found
    for example in found:
        instance = example.instance
        assert instance.pixels.dtype == np.float32
        assert instance.pixels.shape[1:] == instance.valid.shape
        assert np.isfinite(instance.pixels).all()
        if example.mask is not None:
            assert example.mask.dtype == np.uint8
            assert example.mask.shape == instance.valid.shape
        if example.values:
            assert example.values.low <= instance.pixels.min() <= instance.pixels.max() <= example.values.high


def test_all_images_are_of_one_kind(sourced: Sourced) -> None:
    found = examples(sourced.source)

    assert len({(each.instance.modality, each.values, len(each.instance.pixels)) for each in found}) == 1
    assert len({bool(each.label) for each in found}) == len({each.mask is None for each in found}) == 1


def test_another_process_reads_the_same(sourced: Sourced) -> None:
    travelled = pickle.loads(pickle.dumps(sourced.source))  # noqa: S301 - as Ray sends it

    for here, there in zip(examples(sourced.source), examples(travelled), strict=True):
        assert (here.label, here.split) == (there.label, there.split)
        np.testing.assert_array_equal(here.instance.pixels, there.instance.pixels)
        np.testing.assert_array_equal(here.mask, there.mask)


def test_it_becomes_a_dataset_of_three_splits_once(sourced: Sourced) -> None:
    first, second = (prepare(sourced.config, PreparationConfig(size=16), sourced.root) for _ in range(2))

    assert (first.reused, second.reused) == (False, True)
    assert first.info.counts.images == sum(len(first.split(name)) for name in SPLITS)
    assert all(len(first.split(name)) for name in SPLITS)
    assert first.split("train").has_masks == any(each.mask is not None for each in examples(sourced.source))
    assert set(first.info.image.classes) == {each.label for each in examples(sourced.source)} - {""}


def test_no_path_reaches_the_dataset(sourced: Sourced) -> None:
    dataset = prepare(sourced.config, PreparationConfig(size=16), sourced.root)

    assert not [file for file in dataset.path.iterdir() if NAME.encode() in file.read_bytes()]


def test_a_changed_file_makes_another_dataset(sourced: Sourced) -> None:
    first = prepare(sourced.config, PreparationConfig(size=16), sourced.root)
    sourced.files[-1].touch()

    changed = prepare(sourced.config, PreparationConfig(size=16), sourced.root)

    assert not changed.reused
    assert changed.path != first.path


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_our_own_error(sourced: Sourced, damage: str) -> None:
    for file in sourced.files:
        whole = file.read_bytes()
        noise = np.random.default_rng(0).bytes(len(whole))
        file.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise}[damage])

        with pytest.raises(DataError) as raised:
            examples(sourced.source)

        assert isinstance(raised.value, SourceError) or NAME not in str(raised.value)
        file.write_bytes(whole)


def test_a_source_that_is_not_there_says_what_to_set(sourced: Sourced, tmp_path: Path) -> None:
    if "path" not in type(sourced.config).model_fields:
        pytest.skip("reads nothing that could be missing")
    missing = sourced.config.patched({"path": str(tmp_path / "missing")})

    with pytest.raises(SourceError, match=r"missing: .*source\.path"):
        missing.build(tmp_path).items()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (None, "cannot be read"),
        ("Doe^Jane,label\na,x\n", "first column"),
        ("file,split\nDoe^Jane,test\n", "no column headed label"),
        ("file,label,split\nDoe^Jane,x,Doe^Jane\n", "line 2"),
        ("file,label\nDoe^Jane,x\nDoe^Jane,y\n", "line 3"),
    ],
    ids=["missing", "no key", "no label", "no split", "contradiction"],
)
@pytest.mark.parametrize("sourced", WITH_TABLES, indirect=True, ids=kind)
def test_a_wrong_table_is_one_error_before_anything_is_read(
    sourced: Sourced, tmp_path: Path, text: str | None, where: str
) -> None:
    table = tmp_path / "labels.csv"
    if text:
        table.write_text(text)
    wrong = sourced.config.patched({"labels": "table", "table": str(table), "path": str(tmp_path / "missing")})

    with pytest.raises(SourceError, match=rf"^{table}: .*{where}") as raised:
        prepare(wrong, PreparationConfig(size=16), tmp_path / "root")

    assert NAME not in str(raised.value).removeprefix(str(table))
