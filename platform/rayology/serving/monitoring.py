"""What operators count, as Prometheus reads it: all replicas of a model on a node together, whichever is asked."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

__all__ = ["EXPOSITION", "Monitor"]

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Monitor:
    """Count requests and batches of this process.

    Labels are nodes, verbs, versions and statuses, and nothing that a caller wrote.

    Args:
        folder: where the replicas of a node keep what they count.
        node: what the node is called.
    """

    def __init__(self, folder: Path, *, node: str = "") -> None:
        self._folder, self._node, own = folder, node, CollectorRegistry()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[FOLDER] = str(folder)
        # Set at the library's import it would also hold for Ray's own metrics, whose processes share an environment.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call] # as all of the library's are here
        self._requests = Counter(
            "rayology_requests", "Requests, by what came of them.", ("node", "verb", "version", "status"), registry=own
        )
        self._seconds = Histogram(
            "rayology_request_seconds", "Time to answer.", ("node", "verb"), registry=own, buckets=SECONDS
        )
        self._batches = Histogram(
            "rayology_batch_images", "Images computed at once.", ("node",), registry=own, buckets=IMAGES
        )
        self._waiting = Gauge(
            "rayology_waiting_images", "Images that wait.", ("node",), registry=own, multiprocess_mode="livesum"
        )
        self._complaints = Gauge(
            "rayology_complaints", "What /readyz complains of.", ("node",), registry=own, multiprocess_mode="livemax"
        )

    def answered(self, verb: str, version: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(self._node, verb, version, str(status)).inc()
        self._seconds.labels(self._node, verb).observe(seconds)

    def computed(self, num_images: int) -> None:
        """Count a batch."""
        self._batches.labels(self._node).observe(num_images)

    def stands(self, *, num_waiting: int, num_complaints: int) -> None:
        """Note how things stand; others tell it until this is called again."""
        self._waiting.labels(self._node).set(num_waiting)
        self._complaints.labels(self._node).set(num_complaints)

    def exposition(self) -> bytes:
        """Return what all replicas of this node counted; the counts of those that have ended stay."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have tidied up
        for pid in self._ended():
            with suppress(FileNotFoundError):  # another replica tidies up too
                multiprocess.mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Leave nothing behind if this is the last replica of the node."""
        if self._pids() - self._ended() <= {os.getpid()}:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _pids(self) -> set[int]:
        return {int(file.stem.rpartition("_")[2]) for file in self._folder.glob("*.db")}

    def _ended(self) -> set[int]:
        return {pid for pid in self._pids() if not Path(f"/proc/{pid}").exists()}
