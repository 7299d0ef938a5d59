"""One library feeds shuffled batches of 64; runs in that library's own environment (see peers.py and feed.py).

Its arguments are the subject, the images as an npy of uint16, and a folder of its own. The first question brings the
images into the library's form, untimed, and takes one epoch. The others name a form, ``float`` or ``integers``, and
for at least how many seconds to take epochs in it.
"""

# ruff: noqa: PLC0415 - an environment has only one of the libraries

import itertools
import os
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peers import answer, cpu_seconds
from torch import Tensor

BATCH_SIZE = 64
LEVELS = 4096

SHUFFLED = {"batch_size": BATCH_SIZE, "local_shuffle_buffer_size": 1000, "drop_last": True}  # by Ray Data

Images = NDArray[np.int16]
Batches = Callable[[str], Iterable[Tensor]]
"""Maps a form to batches: floats in [-1, 1], or the stored integers; of one epoch, or without an end."""


def in_form(stored: Tensor, form: str) -> Tensor:
    """Scale a whole batch as ours is scaled, in place and in one pass."""
    if form == "integers":
        return stored
    floats = stored.float()
    return torch.add(torch.full((), -1.0), floats, alpha=2 / (LEVELS - 1), out=floats)


def rayology(images: Images, folder: Path) -> Batches:
    """Feed as the training does."""
    import pyarrow as pa

    from rayology.data.batches import Plan, feeding, gathering
    from rayology.data.dataset import DatasetInfo, Split
    from rayology.image import ImageSpec, ValueRange

    del folder
    rows, columns = images.shape[2:]
    spec = ImageSpec(size=(rows, columns), values=ValueRange(levels=LEVELS))
    index = pa.table({"label": np.zeros(len(images), np.int64)})
    info = DatasetInfo.model_construct(image=spec)  # type: ignore[call-arg] # feeding reads nothing else of it
    split = Split(info, index, np.arange(len(images)), [images.view(np.uint16)], [])
    plan = Plan(range(10**9), [slice(0, BATCH_SIZE)], batch_size=BATCH_SIZE, seed=0)

    def floats() -> Iterator[Tensor]:
        with feeding(split, plan, torch.device("cpu")) as feed:
            yield from (feed(*piece).images for piece in plan)

    def integers() -> Iterator[Tensor]:
        with gathering(split, plan, torch.device("cpu")) as gather:
            yield from (gather(*piece).stored for piece in plan)

    endless = {"float": floats(), "integers": integers()}
    return lambda form: endless[form]


class Items(torch.utils.data.Dataset[Tensor]):
    """Images one by one."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self._images[index])


def torch_dataloader(images: Images, folder: Path) -> Batches:
    """Take a memory map image by image, without worker processes: they are slower for images this small."""
    del folder
    loader = torch.utils.data.DataLoader(Items(images), batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    return lambda form: (in_form(batch, form) for batch in loader)


def monai(images: Images, folder: Path) -> Batches:
    """Cache every image in memory in the form that is wanted."""
    from monai.data import CacheDataset, DataLoader

    def cached(form: str) -> Iterable[Tensor]:
        items = [in_form(torch.from_numpy(image.copy()), form) for image in images]
        dataset = CacheDataset(items, transform=[], copy_cache=False, progress=False)
        return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)

    del folder
    loaders = {form: cached(form) for form in ("float", "integers")}
    return lambda form: loaders[form]


def webdataset(images: Images, folder: Path) -> Batches:
    """Stream tar files of npy, shuffled by shards and a buffer of 1,000."""
    import webdataset as wds

    with wds.ShardWriter(f"{folder}/%05d.tar", maxcount=1024, verbose=0) as writer:
        for number, image in enumerate(images):
            writer.write({"__key__": f"{number:06}", "npy": image})
    shards = sorted(map(str, folder.glob("*.tar")))
    dataset = wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(1000).decode()
    batches = dataset.to_tuple("npy").batched(BATCH_SIZE, partial=False)
    return lambda form: (in_form(torch.from_numpy(np.asarray(batch)), form) for (batch,) in batches)


def mosaicml(images: Images, folder: Path) -> Batches:
    """Stream MDS shards from the local disk in the library's own shuffle."""
    import transformers.tokenization_utils_base  # noqa: F401 - looks for torchvision when it is imported

    # The package imports its torchvision datasets at once, and nothing here uses them.
    for name in ("", ".datasets", ".transforms", ".transforms.functional"):
        sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
    vars(sys.modules["torchvision.datasets"])["VisionDataset"] = object
    vars(sys.modules["torchvision.transforms.functional"])["to_tensor"] = None
    from streaming import MDSWriter, StreamingDataLoader, StreamingDataset

    shape = ",".join(map(str, images.shape[1:]))
    with MDSWriter(out=str(folder), columns={"image": f"ndarray:int16:{shape}"}) as writer:
        for image in images:
            writer.write({"image": image})
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH_SIZE)
    loader = StreamingDataLoader(dataset, batch_size=BATCH_SIZE, drop_last=True)
    return lambda form: (in_form(batch["image"], form) for batch in loader)


def litdata(images: Images, folder: Path) -> Batches:
    """Stream optimized chunks from the local disk in the library's own shuffle."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, image in enumerate(images):
        writer.add_item(number, torch.from_numpy(image.copy()))
    writer.done()
    writer.merge()
    loader = StreamingDataLoader(StreamingDataset(str(folder), shuffle=True), batch_size=BATCH_SIZE, drop_last=True)
    return lambda form: (in_form(batch, form) for batch in loader)


def ray_streaming(images: Images, folder: Path) -> Batches:
    """Stream Parquet through Ray Data, shuffled by a buffer of 1,000."""
    import ray

    ray_materialised(images, folder)  # starts Ray
    ray.data.from_numpy(np.array_split(images, 8)).write_parquet(str(folder))
    dataset = ray.data.read_parquet(str(folder))
    return lambda form: (in_form(batch["data"], form) for batch in dataset.iter_torch_batches(**SHUFFLED))


def ray_materialised(images: Images, folder: Path) -> Batches:
    """Take blocks that lie in Ray's object store, shuffled by a buffer of 1,000."""
    import ray

    del folder
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    dataset = ray.data.from_numpy(np.array_split(images, 8)).materialize()
    return lambda form: (in_form(batch["data"], form) for batch in dataset.iter_torch_batches(**SHUFFLED))


def main() -> None:
    """Answer questions."""
    subject, file, folder = sys.argv[1:]
    torch.set_num_threads(1)
    images = np.load(file, mmap_mode="r").view(np.int16)
    length = len(images) // BATCH_SIZE
    made: list[Batches] = []

    def figures(question: Mapping[str, object]) -> dict[str, float]:
        if not made:
            made.append(SUBJECTS[subject](np.asarray(images), Path(folder)))
            epoch = itertools.islice(made[0]("float"), length)
            means = [float(batch.mean()) for batch in epoch]
            return {"batches": len(means), "mean": float(np.mean(means))}
        return timed(made[0], length, str(question["form"]), float(str(question["seconds"])))

    answer(figures)


def timed(batches: Batches, length: int, form: str, seconds: float) -> dict[str, float]:
    """Take whole epochs for at least so long, and count."""
    num_images, started_at, computed = 0, time.perf_counter(), cpu_seconds(os.getpid())
    while time.perf_counter() - started_at < seconds:
        num_images += sum(len(batch) for batch in itertools.islice(batches(form), length))
    return {
        "images": num_images,
        "seconds": time.perf_counter() - started_at,
        "cpu_seconds": cpu_seconds(os.getpid()) - computed,
    }


SUBJECTS: Mapping[str, Callable[[Images, Path], Batches]] = {
    "rayology": rayology,
    "MONAI CacheDataset": monai,
    "torch DataLoader": torch_dataloader,
    "WebDataset": webdataset,
    "MosaicML streaming": mosaicml,
    "LitData": litdata,
    "Ray Data, materialised": ray_materialised,
    "Ray Data, streaming": ray_streaming,
}

if __name__ == "__main__":
    main()
