"""The memory of one frame serves the next, instead of going back to the system and coming again page by page."""

import functools

import numpy as np

__all__ = ["keep_freed_memory"]

LESSON = 31 * 2**20
"""Bytes of a block that teaches glibc; from those of 32 MiB on, it learns nothing."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep up to 62 MiB that it has freed: to fault a page in costs more than to decode into it.

    glibc gives back what is beyond twice the largest block it has seen freed (mallopt(3), M_MMAP_THRESHOLD), and
    reading a slice frees more than twice its pixels. Here it sees a larger block, whose pages are never touched.
    Other allocators have rules of their own, and lose nothing.
    """
    np.empty(LESSON, np.uint8)
