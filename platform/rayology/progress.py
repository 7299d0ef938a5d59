"""What people see while they wait, on stderr: a live bar on a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "console", "progress_bar", "watching"]

SECONDS_BETWEEN_LINES = 10.0

console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)  # a log file has no width to wrap to


class Bar:
    """The progress of one stage."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task(title, total=None, words="")
        self._started_at = self._said_at = time.monotonic()
        self._begun = self._done = 0

    def advance(self, done: int, total: int, words: str = "") -> None:
        """Show how much is done, and the newest words."""
        self._live.update(self._task, completed=done, total=total, words=words)
        now = time.monotonic()
        if not self._begun:  # what comes before the first of them, such as starting workers, is no part of the rate
            self._begun, self._started_at = done, now
        is_due = now - self._said_at >= SECONDS_BETWEEN_LINES or done == total
        if not console.is_terminal and done > max(self._done, self._begun) and is_due:
            rate = (done - self._begun) / max(now - self._started_at, 1e-9)
            left = (total - done) / rate
            console.print(
                f"{self._title}: {done}/{total}, {rate:.3g}/s, {left:.0f} s left  {words}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            self._said_at, self._done = now, done


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """Show a bar until the block ends."""
    bar = Bar(title)
    with bar._live:  # noqa: SLF001 - the bar's own module
        yield bar


@contextmanager
def watching(title: str, look: Callable[[Bar], None], *, every_s: float = 1.0) -> Iterator[None]:
    """Let ``look`` advance a bar every second while the block runs, for work that other processes do."""
    ended = threading.Event()

    def watch(bar: Bar) -> None:
        while not ended.wait(every_s):
            look(bar)
        look(bar)

    with progress_bar(title) as bar:
        thread = threading.Thread(target=watch, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
