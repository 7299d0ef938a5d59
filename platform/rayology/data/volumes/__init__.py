"""Volumes: the slices of a series in spatial order, and operations on them."""

from rayology.data.volumes.reader import Volumes, read_volumes
from rayology.data.volumes.series import SeriesConfig
from rayology.data.volumes.volume import Volume

__all__ = ["SeriesConfig", "Volume", "Volumes", "read_volumes"]
