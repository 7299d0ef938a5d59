"""Reading takes its memory from the system once, in a process that is started as our workers are."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from syntaxes import head, written

from rayology.session import KEEP_FREED_MEMORY

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from rayology.data.dicom import read

def faults():
    return getrusage(RUSAGE_SELF).ru_minflt

for _ in range(5):
    read(Path(sys.argv[1]))
start = faults()
for _ in range(20):
    read(Path(sys.argv[1]))
print((faults() - start) // 20)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have rules of their own")
def test_a_slice_is_read_into_the_memory_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(written(head(1024), "RLE"))
    num_pages = 1024 * 1024 * 4 // os.sysconf("SC_PAGE_SIZE")  # of its pixels alone

    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "a.dcm"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **KEEP_FREED_MEMORY, "PYTHONPATH": str(ROOT / "platform")},
    )

    assert int(ended.stdout) < num_pages / 10
