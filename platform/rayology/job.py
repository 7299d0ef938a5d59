"""What every job does around its own few lines: read its config, do the work, answer in one line of JSON."""

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TypeVar

from rich.logging import RichHandler

from rayology.command_line import load
from rayology.config import Config
from rayology.errors import RayologyError
from rayology.interruption import interruptible
from rayology.progress import console

__all__ = ["run"]

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Config)

ADVICE: Mapping[int, str] = {
    **dict.fromkeys(
        (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS),
        "name a folder that is there and may be written",
    ),
    **dict.fromkeys((errno.EDQUOT, errno.ENOSPC), "free some space, or name a folder on another disk"),
    errno.EADDRINUSE: "end what listens there, or name another port",
}
"""What to do about an error of the system, by its number."""


def run(
    config: type[C],
    main: Callable[[C], Mapping[str, object]],
    *,
    arguments: Sequence[str] | None = None,
    program: str = "",
    about: str = "",
) -> None:
    """Run a job with the config of the command line; stdout is its answer, one JSON object in one line, and no more.

    Exits with 2, and one line that says what to write instead, where the user can mend what is wrong; its trace is
    logged too if RAYOLOGY_DEBUG is set.

    Args:
        config: what the command line is read as.
        main: the work; what it prints goes to stderr.
        arguments: the words of the command line; those of this process if there are none.
        program: what the help calls it; the name of this process's script if it is empty.
        about: what opens the help, as ``load`` takes it.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    logging.getLogger("rayology").setLevel(logging.DEBUG if os.environ.get("RAYOLOGY_DEBUG") else logging.INFO)
    started_at = time.monotonic()
    try:
        words = sys.argv[1:] if arguments is None else arguments
        values = load(config, words, program=program or Path(sys.argv[0]).name, about=about)
        with interruptible(), redirect_stdout(sys.stderr):  # Ray prints what people may read
            answer = main(values)
    except (RayologyError, OSError) as error:
        logger.debug("where it was raised:", exc_info=True)
        console.print(_explained(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    print(json.dumps({**answer, "seconds": round(time.monotonic() - started_at, 1)}, default=str), flush=True)  # noqa: T201


def _explained(error: BaseException) -> str:
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    place = f"{error.filename}: " if error.filename else ""  # Arrow names it in the text alone
    advice = ADVICE.get(error.errno or 0, "name another place, or see that this one can be reached and written")
    return f"{place}{error.strerror or error}; {advice}"
