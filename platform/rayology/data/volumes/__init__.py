"""Volumes: the slices of a series in the order of space, and what may be done with them."""

from rayology.data.volumes.reader import Volumes, read_volumes
from rayology.data.volumes.series import SeriesConfig
from rayology.data.volumes.volume import Volume

__all__ = ["SeriesConfig", "Volume", "Volumes", "read_volumes"]
