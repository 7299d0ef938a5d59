"""Read slices with one library, from the path of a file to float32 in modality units; asked by read_dicom.py."""

# ruff: noqa: PLC0415 - an environment has only one of the libraries

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers import answer

Read = Callable[[str], NDArray[np.float32]]
"""Reads a file as Hounsfield units."""


def rayology() -> Read:
    """Read with Rayology."""
    from rayology.data.dicom import read

    return lambda file: read(Path(file))[0].pixels


def pydicom() -> Read:
    """Read with pydicom and, of its decoder plugins, the faster for each syntax."""
    from pydicom import dcmread
    from pydicom.pixels import apply_rescale, pixel_array
    from pydicom.uid import JPEGLSLossless

    def read(file: str) -> NDArray[np.float32]:
        dataset = dcmread(file)
        faster = "pyjpegls" if dataset.file_meta.TransferSyntaxUID == JPEGLSLossless else ""
        return apply_rescale(pixel_array(dataset, decoding_plugin=faster), dataset).astype(np.float32)

    return read


def pydicom_default() -> Read:
    """Read with pydicom and the decoder plugin that it takes by itself: its first, which is python-gdcm's for most."""
    from pydicom import dcmread
    from pydicom.pixels import apply_rescale, pixel_array

    def read(file: str) -> NDArray[np.float32]:
        dataset = dcmread(file)
        return apply_rescale(pixel_array(dataset), dataset).astype(np.float32)

    return read


def simpleitk() -> Read:
    """Read with SimpleITK, whose GDCM decodes."""
    import SimpleITK

    return lambda file: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file)).astype(np.float32)


def monai() -> Read:
    """Read with MONAI, through pydicom."""
    from monai.transforms import LoadImage

    load = LoadImage(reader="PydicomReader", image_only=True)
    return lambda file: load(file).numpy()


def torchio() -> Read:
    """Read with TorchIO, through SimpleITK."""
    from torchio import ScalarImage

    return lambda file: ScalarImage(file).data.float().numpy()


def dicomsdl() -> Read:
    """Read with dicomsdl."""
    import dicomsdl as library

    def read(file: str) -> NDArray[np.float32]:
        dataset = library.open(file)
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        return (dataset.pixelData(storedvalue=True) * slope + intercept).astype(np.float32)

    return read


LIBRARIES: Mapping[str, Callable[[], Read]] = {
    "rayology": rayology,
    "pydicom": pydicom,
    "pydicom-default": pydicom_default,
    "simpleitk": simpleitk,
    "monai": monai,
    "torchio": torchio,
    "dicomsdl": dicomsdl,
}


def main(name: str) -> None:
    """Answer each question, a list of files and a number of threads, with seconds and the mean of what was read."""
    with contextlib.redirect_stdout(sys.stderr):
        read = LIBRARIES[name]()

    def figures(question: dict[str, object]) -> Mapping[str, object]:
        files, threads = question["files"], question["threads"]
        assert isinstance(files, list)  # noqa: S101 - our own question
        assert isinstance(threads, int)  # noqa: S101 - our own question

        def read_and_forget(file: str) -> None:  # at once, as one thread does: more memory is slower memory
            read(file)

        mean = float(read(files[0]).mean())  # and warm up
        cpu, wall = time.process_time(), time.perf_counter()
        if threads == 1:
            for file in files:
                read(file)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(read_and_forget, files))
        return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "mean": mean}

    answer(figures)


if __name__ == "__main__":
    main(sys.argv[1])
