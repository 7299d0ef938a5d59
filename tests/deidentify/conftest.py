"""The folder that most tests of whole folders begin with."""

from pathlib import Path

import pytest
from tests.deidentify.folders import RAMP, WriteDicom


@pytest.fixture
def source(tmp_path: Path, write_dicom: WriteDicom) -> Path:
    """Two files of Jane Doe, one of John Roe, a photograph of a screen, a letter and a wreck."""
    folder = tmp_path / "source"
    jane = {"PatientName": "Doe^Jane", "PatientID": "JD-4711", "StudyInstanceUID": "1.2.3.1"}
    john = {"PatientName": "Roe^John", "PatientID": "JR-4712", "StudyInstanceUID": "1.2.3.2"}
    for name, attributes in {
        "Doe_Jane/1.dcm": jane | {"SOPInstanceUID": "1.2.3.1.1"},
        "Doe_Jane/2.dcm": jane | {"SOPInstanceUID": "1.2.3.1.2"},
        "Roe_John/1.dcm": john | {"SOPInstanceUID": "1.2.3.2.1"},
        "Roe_John/screen.dcm": john | {"SOPInstanceUID": "1.2.3.2.2", "BurnedInAnnotation": "YES"},
    }.items():
        write_dicom(folder / name, RAMP, **attributes)
    (folder / "Roe_John" / "letter.txt").write_text("Dear Dr. Who, ...")
    (folder / "Roe_John" / "wreck.dcm").write_bytes((folder / "Roe_John" / "1.dcm").read_bytes()[:200])
    return folder
