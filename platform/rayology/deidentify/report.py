"""What a run did, in counts: nothing in it names a value, a file or a patient."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rayology.deidentify.ledger import NOT_DICOM, FileOutcome
from rayology.deidentify.profile import ProfileConfig

__all__ = ["REPORTS", "Report", "report", "write_report"]

REPORTS = ("report.json", "report.txt")
"""Files that a run writes even if it writes no copy: for scripts, and for people."""


@dataclass(frozen=True)
class Report:
    """What became of the files of a source and of their attributes."""

    files: int
    written: int
    masked: int
    """Number of written files in which rectangles were blackened."""
    let_pass: Mapping[str, int]
    """Number of written files that a rule let pass, by its reason; nothing else looked at their pixels."""
    held_back: Mapping[str, int]
    """Number of files that were not written, by reason: rules, repetitions, and values that would have stayed."""
    not_dicom: int
    """Number of files that are not DICOM, such as pictures and letters next to it."""
    unreadable: Mapping[str, int]
    """Number of files that could not be read, by reason."""
    done: Mapping[str, Mapping[str, int]]
    """Number of attributes of the written files, at any depth, by action and keyword."""
    searched: str
    profile: Mapping[str, object]
    """Profile without its rules, whose expressions may name a station."""


SEARCHED = (
    "Every written file was searched, byte by byte, for the names, their parts, the numbers, addresses, dates and UIDs "
    "of its own original, and for those of all other originals except dates and parts of names; words below 4 "
    "characters and numbers below 6 digits were not searched for, and texts that consist of radiology's words alone "
    "were passed over. Files with a hit were not kept."
)


def report(outcomes: Sequence[FileOutcome], config: ProfileConfig) -> Report:
    """Count what became of files."""
    written = [outcome for outcome in outcomes if outcome.output]
    done = defaultdict[str, Counter[str]](Counter)
    for outcome in written:
        for action, counts in outcome.done.items():
            done[action].update(counts)
    set_aside = [outcome.reason for outcome in outcomes if not outcome.is_readable]
    return Report(
        files=len(outcomes),
        written=len(written),
        masked=sum(outcome.is_masked for outcome in written),
        let_pass=dict(Counter(outcome.let_pass for outcome in written if outcome.let_pass)),
        held_back=dict(Counter(outcome.reason for outcome in outcomes if outcome.reason and outcome.is_readable)),
        not_dicom=set_aside.count(NOT_DICOM),
        unreadable=dict(Counter(reason for reason in set_aside if reason != NOT_DICOM)),
        done={action: dict(counts.most_common()) for action, counts in sorted(done.items())},
        searched=SEARCHED,
        profile=config.model_dump(mode="json", exclude={"rules"}),
    )


def write_report(found: Report, folder: Path) -> None:
    """Write ``report.json``, and ``report.txt`` for people."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, told in zip(REPORTS, (json.dumps(asdict(found), indent=2) + "\n", _told(found)), strict=True):
        (folder / name).write_text(told, encoding="utf-8")


def _told(found: Report) -> str:
    lines = [f"{found.written} of {found.files} files were de-identified, {found.masked} of them masked."]
    lines += [f"{found.not_dicom} {NOT_DICOM}"] if found.not_dicom else []
    for became, reasons in {
        "let pass by a rule, whatever their pixels show": found.let_pass,
        "held back": found.held_back,
        "unreadable": found.unreadable,
    }.items():
        lines += [f"{count} {became}: {reason}" for reason, count in reasons.items()]
    lines.append("")
    for action, counts in found.done.items():
        lines.append(f"{action} {sum(counts.values())} values of {len(counts)} attributes")
    return "\n".join((*lines, "", found.searched, ""))
