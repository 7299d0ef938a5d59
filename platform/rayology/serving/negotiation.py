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
    for media_range in _ranked(accept):
        for media_type in ANSWERED[answers]:
            family = media_type.split("/")[0]
            if media_range in (media_type, f"{family}/*", "*/*"):
                return media_type
    raise HTTPException(406, f"Accept: name {' or '.join(ANSWERED[answers])}, which {answers} come as")


def _ranked(accept: str) -> list[str]:
    """Return the media ranges by falling weight, without those of weight zero; equals keep their order."""
    weighted: list[tuple[float, str]] = []
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weighted.append((_weight(parameters), media_range))
    return [media_range for weight, media_range in sorted(weighted, key=lambda pair: -pair[0]) if weight > 0]


def _weight(parameters: list[str]) -> float:
    """Return what ``q=`` says; 1 without it, 0 if it is not a number."""
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0
