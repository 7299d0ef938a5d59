"""A new backbone is one file and one name: this one is searched, trained, bundled and served."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLATFORM = Path(__file__).parents[2] / "platform"
TOY = '''
from typing import Annotated, Literal

from torch import Tensor, nn

from rayology.config import Choice
from rayology.image import Grid
from rayology.models.backbones.base import Activation, BaseBackboneConfig, GridDecoder, GridEncoder
from rayology.models.backbones.dense import DenseConfig


class ToyConfig(BaseBackboneConfig):
    """The means of eight by eight pixels, and back."""

    kind: Literal["toy"] = "toy"
    """Kind of backbone."""
    blur: Annotated[int, Choice(1, 3)] = 1
    """Pixels over which a decoder smooths what it draws."""

    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to means."""
        return ToyEncoder(image)

    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from means to images."""
        return ToyDecoder(image, self.blur)


class ToyEncoder(GridEncoder):
    """Images to means."""

    def __init__(self, image: Grid) -> None:
        super().__init__(out=Grid(image.channels, tuple(side // 8 for side in image.size)))

    def features(self, images: Tensor) -> Tensor:
        """Return the means."""
        return nn.functional.avg_pool2d(images, 8)


class ToyDecoder(GridDecoder):
    """Means to images."""

    def __init__(self, image: Grid, blur: int) -> None:
        head = nn.Conv2d(image.channels, image.channels, blur, padding=blur // 2)
        inp = Grid(image.channels, tuple(side // 8 for side in image.size))
        super().__init__(inp=inp, head=head, size=image.size)

    def padded_images(self, coarse: Tensor) -> Tensor:
        """Return the images."""
        return self.head(nn.functional.interpolate(coarse, scale_factor=8))
'''
WALK = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.search.marks import dimensions, starting_points
from rayology.serving.predictor import Predictor, Threads, card_of
from rayology.serving.schemas import GenerateRequest, Limits
from rayology.serving.verbs import GENERATE
from rayology.training.loop import Training, fit

names = {dimension.name for dimension in dimensions(Experiment())}
assert {"model:vae.decoder:toy.blur", "model:gan.generator:toy.blur", "model:gan.critic:toy.blur"} <= names
assert any("toy" in point.values() for point in starting_points(Experiment()))

spec = ImageSpec(size=(16, 16))
for kind, roles in {"vae": ("encoder", "decoder"), "gan": ("generator", "critic")}.items():
    model = {"kind": kind, "latents": 4, **{role: {"kind": "toy"} for role in roles}}
    experiment = Experiment().patched({"model": model, "schedule": {"steps": 3, "batch_size": 4}})
    training = Training.start(experiment, spec, torch.device("cpu"))
    ignore = lambda *_: None
    images = torch.rand(4, 1, 16, 16) * 2 - 1
    batches = lambda step, rows: Batch(images[rows], torch.zeros(4, dtype=torch.long)[rows])
    fit(experiment, training, batches, log=ignore, evaluate=ignore, checkpoint=ignore)

    provenance = provenance_of(dataset="0", note="", seed=0, steps=3, parents=())
    path = Path(sys.argv[1]) / kind
    write_bundle(path, experiment=experiment, model=training.average, metrics={}, provenance=provenance)
    bundle = Bundle.load(path)
    built = bundle.build()
    card = card_of(bundle, built, version="v", limits=Limits(max_count=4, max_body_bytes=1000))
    predictor = Predictor(built, card, Threads.start(1), batch_size=4)
    answer = asyncio.run(predictor.answer(GENERATE, GenerateRequest(count=2, seed=1)))
    assert answer.images.shape == (2, 1, 16, 16)
"""


@pytest.mark.slow
def test_a_backbone_is_one_file_and_one_name(tmp_path: Path) -> None:
    package = tmp_path / "platform" / "rayology"
    shutil.copytree(PLATFORM / "rayology", package, ignore=shutil.ignore_patterns("__pycache__"))
    backbones = package / "models" / "backbones"
    (backbones / "toy.py").write_text(TOY)
    joined = (backbones / "__init__.py").read_text()
    assert "    DenseConfig | VggConfig" in joined
    named = joined.replace("    DenseConfig | VggConfig", "    ToyConfig | DenseConfig | VggConfig")
    named = named.replace(
        "from rayology.models.backbones.vgg",
        "from rayology.models.backbones.toy import ToyConfig\nfrom rayology.models.backbones.vgg",
    )
    (backbones / "__init__.py").write_text(named)

    done = subprocess.run(
        [sys.executable, "-c", WALK, str(tmp_path)],
        env={"PYTHONPATH": str(package.parent), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
