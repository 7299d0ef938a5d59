"""The media types of images and latents: those that a model takes, and the one of an answer that a client prefers."""

from collections.abc import Mapping
from typing import Literal

from starlette.exceptions import HTTPException

from rayology.serving.verbs import Content

__all__ = ["ANSWERED", "MediaType", "taken", "wanted"]

MediaType = Literal["image/png", "application/x-npy", "application/zip"]
ANSWERED: Mapping[Content, tuple[MediaType, ...]] = {
    "images": ("image/png", "application/x-npy", "application/zip"),
    "latents": ("application/x-npy",),
}
"""The media types of answers, by what they hold; the first are preferred."""


def taken(*, is_volume: bool) -> tuple[MediaType, ...]:
    """Return the media types in which a model takes images; a PNG cannot hold a volume."""
    return ("application/x-npy",) if is_volume else ("image/png", "application/x-npy")


def wanted(accept: str, answers: Content) -> MediaType:
    """Return the media type in which the client prefers an answer (RFC 9110, section 12.5.1).

    Raises:
        HTTPException: 406, the client accepts none.
    """
    ranges = [
        (media_range.strip(), _weight([parameter.strip() for parameter in parameters]), place)
        for place, (media_range, *parameters) in enumerate(item.split(";") for item in accept.lower().split(","))
    ]
    found: list[tuple[float, int, int, MediaType]] = []
    for offer, media_type in enumerate(ANSWERED[answers]):
        for own in (media_type, f"{media_type.split('/')[0]}/*", "*/*"):  # the most specific range has its weight
            if named := [(-weight, place) for media_range, weight, place in ranges if media_range == own]:
                found.append((*min(named), offer, media_type))
                break
    best = min(found, default=None)
    if best is None or best[0] == 0:
        raise HTTPException(406, f"Accept: name {' or '.join(ANSWERED[answers])}, which {answers} come as")
    return best[3]


def _weight(parameters: list[str]) -> float:
    """Return what ``q=`` says; 1 without it, 0 if it is not a number from 0 to 1."""
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        weight = float(given)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
