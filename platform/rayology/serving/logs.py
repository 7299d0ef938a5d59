"""What a replica logs: warnings and errors at once, other lines a second later, many with one write."""

import logging
import sys
import threading

__all__ = ["log_to_stderr", "without_advice"]

GATHERED_S, MOST_GATHERED = 1.0, 1000


class _Gathering(logging.Handler):
    """Writes what was logged within a second at once: Ray's stderr costs a request a twentieth of its time by line."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as handlers of the standard library do
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or len(self._lines) >= MOST_GATHERED:
            self.flush()
        elif len(self._lines) == 1:
            timer = threading.Timer(GATHERED_S, self.flush)
            timer.daemon = True
            timer.start()

    def flush(self) -> None:
        self.acquire()
        try:
            if self._lines:
                sys.stderr.write("".join(self._lines))
                self._lines.clear()
        finally:
            self.release()


def log_to_stderr() -> None:
    """Write what this package logs to stderr, without what Serve adds, which repeats a header of the caller's."""
    ours, handler = logging.getLogger("rayology"), _Gathering()
    handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s -- %(message)s"))
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)


def without_advice() -> None:
    """Keep Serve's controller from advising, on a Ray of one machine, to listen on all addresses for others."""
    logging.getLogger("ray.serve").addFilter(lambda record: "HTTPOptions.host=" not in record.getMessage())
