"""What a replica logs: warnings and errors at once, other lines a second later, many with one write."""

import logging
import sys
import threading
from logging.handlers import BufferingHandler

__all__ = ["log_to_stderr"]

GATHERED_S, MOST_GATHERED = 1.0, 1000


class _Gathering(BufferingHandler):
    """Writes what was logged within a second at once: Ray's stderr costs a request a twentieth of its time by line."""

    def emit(self, record: logging.LogRecord) -> None:
        if not self.buffer:
            timer = threading.Timer(GATHERED_S, self.flush)
            timer.daemon = True
            timer.start()
        super().emit(record)

    def shouldFlush(self, record: logging.LogRecord) -> bool:  # noqa: N802 - as logging names it
        return record.levelno >= logging.WARNING or super().shouldFlush(record)

    def flush(self) -> None:
        self.acquire()
        try:
            text = "".join(f"{self.format(record)}\n" for record in self.buffer)
            self.buffer.clear()
        finally:
            self.release()
        if text:
            sys.stderr.write(text)


def log_to_stderr() -> None:
    """Write what this package logs to stderr, without what Serve adds, which repeats a header of the caller's."""
    ours, handler = logging.getLogger("rayology"), _Gathering(MOST_GATHERED)
    handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s -- %(message)s"))
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)
