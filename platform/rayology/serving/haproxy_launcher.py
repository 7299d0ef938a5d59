"""Start HAProxy as Ray does, with two changes for which Ray has no setting; needs the standard library only.

Its arguments are the path of HAProxy and what Ray passes on.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

__all__ = ["launch"]

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def launch(binary: str, *arguments: str) -> None:
    """Become an HAProxy that dies with its parent, and shows its metrics and statistics on loopback only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    file = Path(arguments[arguments.index("-f") + 1])
    config = file.read_text(encoding="utf-8")
    file.write_text(config.replace("bind :", "bind 127.0.0.1:").replace("bind *:", "bind 127.0.0.1:"), "utf-8")
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the arguments are Ray's


if __name__ == "__main__":
    launch(*sys.argv[1:])
