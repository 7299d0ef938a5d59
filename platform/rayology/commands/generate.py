"""Draw images without a server and without Ray: those that a server draws by seed, index and class.

rayology generate --model phantom --count 1000 --seed 7 --output samples
rayology generate --bundle .rayology/runs/NAME/bundle --class nodule --format png --output nodules
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.errors import ConfigError
from rayology.image import ValueRange
from rayology.progress import progress_bar
from rayology.serving.answer import Answer
from rayology.serving.codecs import encode_npy, encode_png
from rayology.serving.predictor import Predictor, Threads, card_of
from rayology.serving.schemas import END, GenerateRequest, Limits, Seed
from rayology.serving.verbs import GENERATE
from rayology.store import CHAMPION, Store


class GenerateConfig(Config):
    """Which images to draw, with which model."""

    bundle: Path | None = None
    """Folder of a bundle; null takes a model of the store."""
    store: str = ".rayology/store"
    """A folder, or an object store's URI such as s3://bucket/prefix."""
    model: str = ""
    """Name of the model in the store; empty if the store holds a single one."""
    version: str = CHAMPION
    """Version of the model in the store."""
    count: PositiveInt = 16
    """How many images."""
    seed: Seed = 0
    """The same seed gives the same images of a version."""
    first_index: Annotated[int, Field(ge=0, lt=END)] = 0
    """Index of the first image; the others follow it."""
    class_name: Annotated[str, Field(alias="class")] = ""
    """Class of all images; empty lets each draw its own."""
    format: Literal["png", "npy", "both"] = "both"
    """Files of each image: PNG for people, NPY of (channel, rows, columns) in modality units."""
    output: Path = Path("generated")
    """Folder of the files, new or empty; their names tell seed, index and class."""
    batch_size: Annotated[PositiveInt, Field(le=1024)] = 32
    """The most images computed at once; the bits are those of a server with the same batch_size and num_threads."""
    num_threads: PositiveInt = 1
    """CPU cores, and threads, to compute on."""

    @model_validator(mode="after")
    def _indices_end(self) -> Self:
        if self.first_index + self.count > END:
            raise ValueError(f"first_index and count: the indices must end below {END}")
        return self


def main(config: GenerateConfig) -> Mapping[str, object]:
    """Return where the images lie, and all it takes to draw them again."""
    output = config.output.expanduser()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"output: {config.output} is there and not an empty folder; name a new one")
    bundle, version = chosen(config)
    if GENERATE.needs not in bundle.manifest.capabilities:
        place = config.bundle or version
        raise ConfigError(f"{place}: a {bundle.manifest.model.kind} does not generate; name another model")
    model = bundle.build()
    card = card_of(bundle, model, version=version, limits=Limits(max_count=config.batch_size, max_body_bytes=0))
    predictor = Predictor(model, card, Threads.start(config.num_threads), batch_size=config.batch_size)
    with progress_bar("generate") as bar, asyncio.Runner() as runner:
        for done, request in requests(config):
            answer = runner.run(predictor.answer(GENERATE, request))
            write(answer, output, config.format, predictor.image.values)
            bar.advance(done, config.count)
    return {
        "output": output,
        "count": config.count,
        "version": version,
        "seed": config.seed,
        "first_index": config.first_index,
    }


def chosen(config: GenerateConfig) -> tuple[Bundle, str]:
    """Return the bundle and its version; without a store that is its fingerprint, for its path may name a patient."""
    if config.bundle is not None:
        bundle = Bundle.load(config.bundle.expanduser())
        return bundle, bundle.fingerprint
    store = Store(config.store)
    name = store.resolve(config.model)
    version = store.pin(name, config.version)
    return Bundle.load(store.fetch(name, version)), version


def requests(config: GenerateConfig) -> Iterator[tuple[int, GenerateRequest]]:
    """Yield a request for each batch, as a client would send them, and how many images are done after it."""
    for start in range(0, config.count, config.batch_size):
        count = min(config.batch_size, config.count - start)
        first_index, class_name = config.first_index + start, config.class_name or None
        yield (
            start + count,
            GenerateRequest(count=count, seed=config.seed, first_index=first_index, class_name=class_name),
        )


def write(answer: Answer, output: Path, form: Literal["png", "npy", "both"], values: ValueRange) -> None:
    """Write each image of an answer into files of its own."""
    output.mkdir(parents=True, exist_ok=True)
    for one in answer.each():
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", one.classes[0])[:40] if one.classes else "image"
        file = output / f"{one.seed}-{one.first_index:06}-{label}"
        if form != "npy":
            file.with_suffix(".png").write_bytes(encode_png(one.images, values, text=one.png_text))
        if form != "png":
            file.with_suffix(".npy").write_bytes(encode_npy(one.images[0]))
