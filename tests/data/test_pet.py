"""PET keeps one range for a whole dataset: its files carry a slope each, so values compare in modality units alone."""

import numpy as np
from tests.data.peaks import peak_bytes

from rayology.data import PreparationConfig
from rayology.data.curation import _body_sample, _with_shared_range
from rayology.data.dicom.geometry import Geometry
from rayology.data.identity import Identity, pseudonyms
from rayology.data.records import ImageRecord


def test_a_large_series_weighs_about_as_much_as_a_small_one() -> None:
    large, small = (np.linspace(0, 1, length, dtype=np.float32) for length in (2**22, 2**16))

    assert len(_body_sample(large)) <= 1.5 * len(_body_sample(small))


def test_of_many_series_one_lies_in_memory_at_a_time() -> None:
    who = [pseudonyms(Identity(patient="anyone", series=f"{number}"), b"", seed=0) for number in range(16)]
    images = [
        ImageRecord(each, "PT", (1, 1024, 1024), Geometry(), (1024, 1024), row=row) for row, each in enumerate(who)
    ]
    body = np.linspace(0, 1, 2**20, dtype=np.float32).reshape(1, 1, 1024, 1024)
    pixels = np.broadcast_to(body, (16, 1, 1024, 1024))

    peak = peak_bytes(lambda: _with_shared_range(images, pixels, PreparationConfig()))

    assert peak < 8 * body.nbytes
