"""What is drawn without a server is what a server draws."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest

from rayology.bundle import Bundle
from rayology.commands.generate import GenerateConfig, main

NPY = {"Accept": "application/x-npy"}


@pytest.mark.parametrize("class_name", ["", "nodule"])
def test_images_have_the_bits_of_a_servers_by_seed_index_and_class(
    vae: httpx.Client, vae_bundle: Bundle, tmp_path: Path, class_name: str
) -> None:
    chosen = {"class": class_name} if class_name else {}
    asked = {"count": 6, "seed": 7, "first_index": 3, **chosen}

    main(GenerateConfig.model_validate({**asked, "bundle": vae_bundle.path, "output": tmp_path / "new"}))
    served = np.load(BytesIO(vae.post("/generate", json=asked, headers=NPY).content))
    one = vae.post("/generate", json={**asked, "count": 1}).content

    drawn = [np.load(file) for file in sorted((tmp_path / "new").glob("*.npy"))]
    assert np.array_equal(np.stack(drawn), served)
    picture = min((tmp_path / "new").glob("*.png")).read_bytes()
    assert one[-200:] == picture[-200:], "the pixels, behind what tells the version"


def test_volumes_have_the_bits_of_a_servers(volumes: httpx.Client, volume_bundle: Bundle, tmp_path: Path) -> None:
    main(
        GenerateConfig(bundle=volume_bundle.path, count=2, seed=1, output=tmp_path / "new", format="npy", batch_size=4)
    )

    served = np.load(BytesIO(volumes.post("/generate", json={"count": 2, "seed": 1}, headers=NPY).content))
    assert np.array_equal(np.stack([np.load(file) for file in sorted((tmp_path / "new").iterdir())]), served)
