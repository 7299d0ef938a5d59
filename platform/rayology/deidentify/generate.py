"""Write the profile's table in our own form: ``python -m rayology.deidentify.generate STANDARD.json``.

The input is DICOM PS3.15 table E.1-1 as a list of objects; of each row only the tag and its codes are carried over.
"""

import json
import re
import sys
from pathlib import Path

from rayology.deidentify.profile import TABLE

__all__ = ["compact"]

OPTIONS = {
    "rtnUIDsOpt": "uids",
    "rtnDevIdOpt": "device",
    "rtnInstIdOpt": "institution",
    "rtnPatCharsOpt": "patient",
    "rtnLongModifDatesOpt": "shifted_dates",
    "cleanDescOpt": "descriptors",
    "rtnSafePrivOpt": "private",
}
"""The options that are offered, and our word for each."""


def compact(rows: list[dict[str, str]]) -> str:
    """Return a line for every attribute: its tag, the code of the basic profile, and those of the options.

    A tag is eight digits, with X for any; that of the row that stands for all private attributes begins with G.
    """
    lines = []
    for row in rows:
        tag = re.sub(r"[^0-9A-FGX]", "", row["id"].upper())[:8]
        options = " ".join(f"{ours}={row[theirs]}" for theirs, ours in OPTIONS.items() if row.get(theirs))
        lines.append(f"{tag}\t{row['basicProfile']}\t{options}\n")
    return "".join(sorted(lines))


if __name__ == "__main__":
    TABLE.write_text(compact(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="ascii")
