"""What people see while they wait, on stderr: a live bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as LiveProgress
from rich.table import Column

__all__ = ["Bar", "Progress", "console", "progress_bar", "watching"]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BEFORE_WAITING = 5.0
SECONDS_BETWEEN_REPEATS = 60.0
FEW = 10  # parts that are so few take so long that each is worth a line

console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)  # a log file has no width to wrap to


@dataclass(frozen=True)
class Progress:
    """How far a stage has got, in the files, series or images that it counts."""

    stage: str
    done: int
    total: int


class _Live(LiveProgress):
    """A live bar that may have more below it."""

    below: RenderableType | None = None

    def get_renderables(self) -> Iterator[RenderableType]:
        """Give the bar, then what is below it."""
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below


class Bar:
    """The progress of one stage after another."""

    def __init__(self, title: str, words: str = "") -> None:
        self._title = title
        self._live = _Live(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[count]}"),  # empty until the total is known
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", table_column=Column(ratio=1, no_wrap=True)),  # gives way to the others
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task(title, total=None, count="", words=words)
        self._started_at = self._said_at = self._moved_at = time.monotonic()
        self._looked_at = 0.0
        self._begun = self._done = self._seen = 0
        self._said, self._words = "", words
        if words:
            self._say(words)

    def advance(self, done: int, total: int, words: str = "") -> None:
        """Show how much is done, and the newest words; less than before begins a stage, which has its own rate."""
        if done < self._seen:
            self._live.reset(self._task)
            self._begun = self._done = 0
            self._say(words)
        self._words = words
        self._live.update(self._task, completed=done, total=total, count=f"{done}/{total}", words=words)
        now = time.monotonic()
        if done != self._seen:
            self._seen, self._moved_at = done, now
        if self._begun in {
            0,
            done,
        }:  # what comes before the first of them, such as starting workers, is not of the rate
            self._begun = done
            self._started_at = self._said_at = now
        is_due = now - self._said_at >= SECONDS_BETWEEN_LINES or done == total
        if total <= FEW:
            self._say(f"{done}/{total}  {words}".rstrip())
        elif done > max(self._done, self._begun) and is_due:
            rate = (done - self._begun) / max(now - self._started_at, 1e-9)
            self._say(f"{done}/{total}, {rate:.3g}/s, {(total - done) / rate:.0f} s left  {words}")
            self._said_at, self._done = now, done

    def show(self, below: RenderableType) -> None:
        """Show something below the bar on a terminal, in place of what was shown before."""
        self._live.below = below

    def wait(self, look: Callable[[], str]) -> None:
        """Say what keeps the work from going on, if ``look`` finds it; it is asked only while nothing is done."""
        now = time.monotonic()
        if now - max(self._moved_at, self._looked_at) < SECONDS_BEFORE_WAITING:
            return
        self._looked_at, words = now, look()
        self._live.update(self._task, words=words or self._words)
        if words and (words != self._said or now - self._said_at >= SECONDS_BETWEEN_REPEATS):
            self._said = ""
            self._say(words)
            self._said_at = now

    def _say(self, words: str) -> None:
        """Print a line if there is no bar to be seen; the same line again would say nothing."""
        if not console.is_terminal and words != self._said:
            self._said = words
            console.print(f"{self._title}: {words}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, words: str = "") -> Iterator[Bar]:
    """Show a bar until the block ends, and what is done before anything can be counted."""
    bar = Bar(title, words)
    with bar._live:  # noqa: SLF001 - the bar's own module
        yield bar


@contextmanager
def watching(title: str, words: str, look: Callable[[Bar], None], *, every_s: float = 1.0) -> Iterator[None]:
    """Let ``look`` advance a bar again and again while the block runs, for work that other processes do."""
    ended = threading.Event()

    def watch(bar: Bar) -> None:
        is_last = False
        while not is_last:
            is_last = ended.wait(every_s)
            try:
                look(bar)
            except Exception:  # a storage or a cluster may be out of reach for a while
                logger.debug("what is watched cannot be seen:", exc_info=True)

    with progress_bar(title, words) as bar:
        thread = threading.Thread(target=watch, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
