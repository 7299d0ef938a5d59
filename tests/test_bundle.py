"""A bundle comes back as it was, or says what is wrong with it."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.kinds import SMALL_MODELS, name_of
from torch import Tensor

from rayology import bundle as bundle_module
from rayology.bundle import Bundle, draw, provenance_of, write_bundle
from rayology.errors import BundleError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.metrics.figures import as_markdown
from rayology.models import GanConfig, Generates, Model, VaeConfig, capabilities
from rayology.models.backbones import ResNetConfig, VggConfig
from rayology.noise import Noise, indexed_labels, indexed_noise
from rayology.picture import GAP

SPEC = ImageSpec(size=(16, 16), classes=("a", "b"))
VOLUMES = ImageSpec(size=(16, 24, 32), classes=("a", "b"))
SMALL = ResNetConfig(width=8)


@pytest.fixture(params=SMALL_MODELS, ids=name_of)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return Experiment(model=request.param, storage=Path("/hospital/john-doe"))


@pytest.fixture
def model(experiment: Experiment) -> Model:
    return experiment.model.build(SPEC)


@pytest.fixture
def bundle(experiment: Experiment, model: Model, tmp_path: Path) -> Bundle:
    return write_bundle(
        tmp_path / "bundle",
        experiment=experiment,
        model=model,
        metrics={"mmd": 0.5},
        figures=as_markdown({"mmd": 0.5}),
        provenance=provenance_of(dataset="1234", note="one patient", seed=0, steps=7),
    )


def test_a_loaded_bundle_draws_the_same_images(bundle: Bundle, model: Model) -> None:
    loaded = Bundle.load(bundle.path).build()

    assert torch.equal(draw(loaded, count=4, seed=3), draw(model, count=4, seed=3))


def test_a_bundle_of_volumes_draws_and_says_the_same(experiment: Experiment, tmp_path: Path) -> None:
    model = experiment.model.build(VOLUMES)
    origin = provenance_of(dataset="1234", note="", seed=0, steps=7)

    write_bundle(tmp_path / "bundle", experiment=experiment, model=model, metrics={}, provenance=origin)
    loaded = Bundle.load(tmp_path / "bundle")

    drawn = draw(loaded.build(), count=2, seed=3)
    assert drawn.shape == (2, 1, 16, 24, 32)
    assert torch.equal(drawn, draw(model, count=2, seed=3))
    assert loaded.manifest.image == VOLUMES
    assert f"a {experiment.model.kind} of 16x24x32 volumes" in (loaded.path / "README.md").read_text()
    with Image.open(loaded.path / "samples.png") as sheet:
        # 16 volumes in rows of three, each in its middle planes
        assert sheet.size == (3 * (32 + 32 + 24) + 2 * GAP, 6 * 24 + 5 * GAP)


def test_a_sheet_of_volumes_is_drawn_in_parts_as_it_would_be_as_a_whole(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = experiment.model.build(VOLUMES)
    parts: list[int] = []
    sample = model.sample

    def watched(noise: Noise, labels: Tensor) -> Tensor:
        parts.append(len(labels))
        return sample(noise, labels)

    noise = indexed_noise(model.sample_noise(), seed=3, indices=range(16))
    with torch.no_grad():
        whole = model.sample(noise, indexed_labels(2, seed=3, indices=range(16)))
    monkeypatch.setattr(model, "sample", watched)  # the model is real; it is only listened to

    drawn = draw(model, count=16, seed=3, values_at_once=5 * 4 * math.prod(VOLUMES.shape))

    assert parts == [5, 5, 5, 1]
    torch.testing.assert_close(drawn, whole)


def test_the_card_names_the_size(bundle: Bundle) -> None:
    assert "of 16x16 images" in (bundle.path / "README.md").read_text()


def test_the_card_names_the_networks_and_the_loss(tmp_path: Path) -> None:
    gan = Experiment(model=GanConfig(generator=SMALL, critic=VggConfig(width=8), loss="hinge"))
    origin = provenance_of(dataset="1234", note="", seed=0, steps=7)

    write_bundle(tmp_path / "gan", experiment=gan, model=gan.model.build(SPEC), metrics={}, provenance=origin)

    choices = re.search(r"^Choices: (.+)\.$", (tmp_path / "gan" / "README.md").read_text(), re.MULTILINE)
    assert choices
    assert {"generator resnet", "critic vgg", "loss hinge", "regulariser zero_centred"} <= {*choices[1].split(", ")}
    assert "critic resnet" not in choices[1]


def test_a_loaded_bundle_says_the_same(bundle: Bundle) -> None:
    assert Bundle.load(bundle.path).manifest == bundle.manifest


def test_the_card_shows_the_figures_with_their_note(bundle: Bundle) -> None:
    card = (bundle.path / "README.md").read_text()

    assert as_markdown({"mmd": 0.5}) in card
    assert "## Intended use and limits" in card
    assert "one patient" in card


def test_the_sheet_of_samples_is_a_picture(bundle: Bundle) -> None:
    with Image.open(bundle.path / "samples.png") as sheet:
        assert sheet.size == (64, 64)


def test_no_path_of_the_machine_is_in_a_bundle(bundle: Bundle) -> None:
    assert "john-doe" not in (bundle.path / "bundle.json").read_text()


@pytest.mark.parametrize("name", ["weights.safetensors", "README.md", "samples.png"])
def test_one_flipped_bit_is_found(bundle: Bundle, name: str) -> None:
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / name).write_bytes(content)

    with pytest.raises(BundleError, match=f"{name}: was altered"):
        Bundle.load(bundle.path)


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.path / "weights.safetensors").unlink()

    with pytest.raises(BundleError, match=r"weights.safetensors: is missing"):
        Bundle.load(bundle.path)


def test_a_folder_that_is_no_bundle_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no bundle.json; name a folder"):
        Bundle.load(tmp_path)


def test_a_foreign_or_newer_manifest_is_refused(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    (bundle.path / "bundle.json").write_text(json.dumps({**manifest, "format_version": 99}))

    with pytest.raises(BundleError, match="format_version"):
        Bundle.load(bundle.path)


def test_a_caveat_cannot_be_struck_out_unseen(bundle: Bundle) -> None:
    text = (bundle.path / "bundle.json").read_text().replace("one patient", "")
    (bundle.path / "bundle.json").write_text(text)

    with pytest.raises(BundleError, match=r"bundle.json: was altered since it was written"):
        Bundle.load(bundle.path)


def test_a_manifest_cannot_point_outside_its_folder(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (bundle.path / "bundle.json").write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="files"):
        Bundle.load(bundle.path)


def test_weights_of_another_model_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = write_bundle(
        tmp_path / "other",
        experiment=Experiment(model=VaeConfig(encoder=SMALL, decoder=SMALL, latents=64)),
        model=VaeConfig(encoder=SMALL, decoder=SMALL, latents=64).build(SPEC),
        metrics={},
        provenance=bundle.manifest.provenance,
    )
    shutil.copy(other.path / "weights.safetensors", bundle.path)
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    manifest["files"]["weights.safetensors"] = other.manifest.files["weights.safetensors"]
    manifest["checksum"] = bundle_module._fingerprint(manifest)
    (bundle.path / "bundle.json").write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="does not fit the manifest's model"):
        Bundle.load(bundle.path).build()


def test_a_manifest_without_the_weights_checksum_is_refused(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    del manifest["files"]["weights.safetensors"]
    (bundle.path / "bundle.json").write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="files"):
        Bundle.load(bundle.path)


def test_writing_again_over_a_bundle_replaces_it(bundle: Bundle, experiment: Experiment, model: Model) -> None:
    """As a process does that was lost right after it wrote, and was started again."""
    again = write_bundle(
        bundle.path, experiment=experiment, model=model, metrics={}, provenance=bundle.manifest.provenance
    )

    assert Bundle.load(bundle.path).manifest == again.manifest


OLD_BUNDLES = [
    *(f"format_1/{name}" for name in ("vae", "gan", "volumes")),
    *(f"format_{version}/{name}" for version in (2, 3) for name in ("vae", "gan")),
]


@pytest.mark.parametrize("name", OLD_BUNDLES)
def test_a_bundle_of_an_earlier_format_draws_what_it_drew(name: str) -> None:
    """Equal to the bit with as many threads, on the machine that wrote the fixtures; others round otherwise."""
    folder = Path(__file__).parent / "fixtures"
    written = np.load(folder / f"{name}.npz")

    bundle = Bundle.load(folder / name)
    model = bundle.build()
    assert isinstance(model, Generates)
    with torch.inference_mode():
        drawn = model.sample({"latent": torch.from_numpy(written["noise"])}, torch.from_numpy(written["labels"]))

    torch.testing.assert_close(drawn, torch.from_numpy(written["samples"]), rtol=0.0, atol=1e-5)
    assert bundle.manifest.name == f"old-{Path(name).name}"
    assert bundle.manifest.capabilities == capabilities(type(model))
    assert bundle.manifest.metrics == {"copies": 0.05, "mmd": 1e-05, "mmd/low": -2.5}


@pytest.mark.parametrize("name", ["vae", "gan", "volumes"])
def test_what_format_1_wrote_draws_the_same_bits_once_it_is_written_again(name: str, tmp_path: Path) -> None:
    folder = Path(__file__).parent / "fixtures" / "format_1"
    written, old = np.load(folder / f"{name}.npz"), Bundle.load(folder / name)
    noise, labels = {"latent": torch.from_numpy(written["noise"])}, torch.from_numpy(written["labels"])

    write_bundle(
        tmp_path / "new",
        experiment=Experiment(name=old.manifest.name, model=old.manifest.model),
        model=old.build(),
        metrics=old.manifest.metrics,
        provenance=old.manifest.provenance,
    )
    new = Bundle.load(tmp_path / "new")

    assert (old.written_as, new.written_as) == (1, 4)
    assert (old.seed, new.seed) == (None, old.manifest.provenance.seed)
    before, after = old.build(), new.build()
    assert isinstance(before, Generates)
    assert isinstance(after, Generates)
    assert torch.equal(before.sample(noise, labels), after.sample(noise, labels))
    as_they_lay = sorted(tensor.numpy().tobytes() for tensor in load_file(old.path / "weights.safetensors").values())
    assert sorted(tensor.numpy().tobytes() for tensor in new.weights().values()) == as_they_lay


def test_a_bundle_of_format_1_that_was_altered_is_refused(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "fixtures" / "format_1" / "vae", tmp_path / "vae")
    text = (tmp_path / "vae" / "bundle.json").read_text().replace("one patient", "")
    (tmp_path / "vae" / "bundle.json").write_text(text)

    with pytest.raises(BundleError, match=r"bundle.json: was altered since it was written"):
        Bundle.load(tmp_path / "vae")


def test_a_bundle_names_what_its_model_can_do_and_shows_it(bundle: Bundle, experiment: Experiment) -> None:
    able = bundle.manifest.capabilities
    card = (bundle.path / "README.md").read_text()

    assert able == capabilities(experiment.model.builds())
    assert ("shows the same person" in card) == ("reconstruct" in able)
    assert "they show nobody" in card
