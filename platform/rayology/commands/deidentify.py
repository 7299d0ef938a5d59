"""De-identify a folder of DICOM; the key and all that names files or patients stay in the private folder.

rayology deidentify --source /archive/study --output /shared/study --private /archive/private
rayology deidentify --source /archive/study --output /shared/study --profile.dates shifted
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import PositiveInt

from rayology.config import Config
from rayology.deidentify import ProfileConfig, deidentify_folder
from rayology.errors import SourceError
from rayology.progress import progress_bar


class DeidentifyConfig(Config):
    """What to de-identify, and how."""

    source: Path
    """A folder with DICOM files below it; it is only read."""
    output: Path = Path("deidentified")
    """Where the copies go, under pseudonyms, with a report next to them; nothing in it names anybody."""
    private: Path = Path(".rayology/private")
    """Where the key lies, and what names files; whoever has it can name the patients."""
    num_workers: PositiveInt = 1
    """How many processes work on it."""
    profile: ProfileConfig = ProfileConfig()
    """What is retained beyond the basic profile, and what is held back."""


def main(config: DeidentifyConfig) -> Mapping[str, object]:
    """Return how many files were written, held back, unreadable and not DICOM."""
    with progress_bar("de-identify") as bar:
        report = deidentify_folder(
            config.source,
            config.output,
            config.private,
            config.profile,
            num_workers=config.num_workers,
            tell=lambda progress: bar.advance(progress.done, progress.total, progress.stage),
        )
    if not report.written:
        raise SourceError(f"{config.source}: no file was written; {config.output}/report.txt says why")
    held_back, unreadable = sum(report.held_back.values()), sum(report.unreadable.values())
    counts = {"held_back": held_back, "unreadable": unreadable, "not_dicom": report.not_dicom}
    return {"output": config.output, "written": report.written, **counts}
