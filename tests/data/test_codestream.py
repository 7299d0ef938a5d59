"""What compressed frames say of their size."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from rayology.data.codestream import coded_size


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_the_size_is_that_of_the_image(kind: str) -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((24, 56), np.uint8)).save(stream, kind)

    assert coded_size(stream.getvalue()) == (24, 56)


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((24, 56), np.uint8)).save(stream, "JPEG")
    plain = stream.getvalue()

    assert coded_size(plain[:2] + b"\xff\xff" + plain[2:]) == (24, 56)


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        b"text",
        b"\xff\xd8",
        b"\xff\xd8" + bytes(20),
        b"\xff\x4f\xff\x51\x00",
        b"\xff\xd8\xff\xe0\x00\x04\x00\x00" * 2,
    ],
)
def test_a_codestream_without_a_size_is_refused(codestream: bytes) -> None:
    with pytest.raises(ValueError, match="codestream"):
        coded_size(codestream)
