"""An answer and its headers are each other's inverse."""

import httpx
import numpy as np
import pytest

from rayology.serving.answer import CLASSES, FIRST_INDEX, NATURE, SEED, VERSION, Answer

IMAGES = np.zeros((2, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(IMAGES, ("nodule", "mass"), 2**63 - 1, 0, "v", "synthetic"),
        Answer(IMAGES, ("a, b", "50 % \r\n\u00e9\u809d"), 0, 2**63 - 2, "v", "synthetic"),
        Answer(IMAGES[:1], ("",), 0, 0, "v", "synthetic"),
        Answer(IMAGES, (), None, None, "v", "derived"),
    ],
)
def test_what_is_received_is_what_was_answered(answer: Answer) -> None:
    travelled = httpx.Response(200, headers=answer.headers).headers

    received = Answer.received(answer.images, travelled)

    assert (received.classes, received.seed, received.first_index) == (answer.classes, answer.seed, answer.first_index)
    assert (received.version, received.nature) == (answer.version, answer.nature)
    assert all(value.isascii() and value.isprintable() for value in answer.headers.values())


@pytest.mark.parametrize(
    "changed",
    [{NATURE: "real"}, {NATURE: None}, {VERSION: None}, {SEED: "x"}, {FIRST_INDEX: ""}, {CLASSES: "mass"}],
)
def test_headers_of_another_kind_are_refused(changed: dict[str, str | None]) -> None:
    written = Answer(IMAGES, ("nodule", "mass"), 1, 0, "v", "synthetic").headers | changed

    with pytest.raises(ValueError, match=r"missing or unknown|invalid literal|1 classes of 2 images"):
        Answer.received(IMAGES, {name: value for name, value in written.items() if value is not None})
