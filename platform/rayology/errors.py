"""What can go wrong, as one tree.

::

    RayologyError
    ├── ConfigError          a key, a flag or a value of the configuration
    ├── DataError
    │   ├── NotDicom         a file that is not DICOM
    │   ├── NotAnImage       DICOM without pixels
    │   ├── NotSelected      an image that a selection leaves out
    │   ├── UnreadableImage  an image that is damaged
    │   │   └── UnsupportedSyntax  one in a transfer syntax that nothing installed decodes
    │   ├── SeriesError      slices that do not make a volume
    │   ├── SourceError      a source that is missing, empty or mixed
    │   │   └── SourceLost   one that was there when it was listed, and is not when it is read
    │   └── DatasetError     a prepared dataset that is missing or damaged
    ├── BundleError          a bundle that is damaged or foreign
    ├── StoreError           a store or a version that is not there, or not fit to be promoted
    │   ├── MissingVersion   a version that a store does not have
    │   └── RefusedByGate    a model whose figures forbid to promote or serve it
    ├── TrainingError        a training that cannot start or go on
    │   ├── Diverged         a loss that is no longer finite, or samples that collapse
    │   └── OutOfMemory      a step that takes more memory than there is
    ├── SearchError          a sweep without a usable trial
    ├── ServingError         an application that cannot be served
    └── RequestError         a request that a model cannot answer
        └── BusyError        one that it cannot answer now
"""

from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "BundleError",
    "BusyError",
    "ConfigError",
    "DataError",
    "DatasetError",
    "Diverged",
    "MissingVersion",
    "NotAnImage",
    "NotDicom",
    "NotSelected",
    "OutOfMemory",
    "RayologyError",
    "RefusedByGate",
    "RequestError",
    "SearchError",
    "SeriesError",
    "ServingError",
    "SourceError",
    "SourceLost",
    "StoreError",
    "TrainingError",
    "UnreadableImage",
    "UnsupportedSyntax",
]


class RayologyError(Exception):
    """Something that a user can mend; the message says what was found, where, and what to do."""


class ConfigError(RayologyError):
    """A key, a flag or a value of the configuration is wrong."""


class DataError(RayologyError):
    """The images are not what was asked for."""


class NotDicom(DataError):
    """A file is not DICOM."""


class NotAnImage(DataError):
    """A DICOM file holds no image."""


class NotSelected(DataError):
    """An image is not wanted; its study and modality are known if it is not a secondary capture, for no message."""

    def __init__(self, message: str, *, study: str = "", modality: str = "") -> None:
        super().__init__(message)
        self.study, self.modality = study, modality


class UnreadableImage(DataError):
    """An image is damaged."""


class UnsupportedSyntax(UnreadableImage):
    """An image is in a transfer syntax that nothing installed decodes."""


class SeriesError(DataError):
    """Slices do not make a volume; the message counts them and says where they lie, only ``files`` names them."""

    def __init__(self, message: str, files: Sequence[Path] = ()) -> None:
        super().__init__(message)
        self.files = tuple(files)


class SourceError(DataError):
    """A source is missing, holds no image, or mixes what does not belong together."""


class SourceLost(SourceError):
    """A source, or a table of it, cannot be read where it could be listed."""


class DatasetError(DataError):
    """A prepared dataset is missing or damaged."""


class BundleError(RayologyError):
    """A bundle is damaged or was not written by Rayology."""


class StoreError(RayologyError):
    """A store or a version is not there, or is not fit to be promoted."""


class MissingVersion(StoreError):
    """A store does not have a version."""


class RefusedByGate(StoreError):
    """The figures of a model forbid to promote or serve it; ``fault`` says why in words that any client may read."""

    def __init__(self, message: str, *, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class TrainingError(RayologyError):
    """A training cannot start or go on."""


class Diverged(TrainingError):
    """A loss or a sample is no longer finite, or samples have collapsed."""

    def __init__(self, message: str, *, sound_until: int | None = None) -> None:
        super().__init__(message)
        self.sound_until = sound_until
        """The last step whose weights are worth going on from, if checkpoints may be of later ones."""


class RolledBack(TrainingError):
    """A training that diverged goes on from an earlier checkpoint when it is started again."""


class OutOfMemory(TrainingError):
    """A step takes more memory than there is, as one process found out or all of them."""

    def __init__(self, message: str, *, in_all: bool = False) -> None:
        super().__init__(message)
        self.in_all = in_all


class SearchError(RayologyError):
    """A sweep has no trial to choose from."""


class ServingError(RayologyError):
    """An application cannot be deployed, or finds no room."""


class RequestError(RayologyError):
    """A request asks for what the model cannot give."""


class BusyError(RequestError):
    """A request comes while too many others wait."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """Seconds after which those that wait will probably have been answered."""
