"""How many replicas there should be, by how many batches wait: what Serve's controller runs, without torch."""

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["BATCHES", "replicas_wanted"]

BATCHES = "batches"
"""What a replica reports: batches that wait or are computed, where a part of one counts as a part."""
BATCHES_OF_A_REPLICA = (
    2  # one is computed, and what queued meanwhile is the next: more replicas would be idle in between
)


class Load(Protocol):
    """What Serve says of the replicas: the part of its ``AutoscalingContext`` that is read here."""

    target_num_replicas: int
    """How many there should be so far."""
    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None
    """What each replica reported, averaged over a while."""


def replicas_wanted(load: Load) -> tuple[float, dict[str, Any]]:
    """Return how many replicas keep each busy; Serve rounds it up, and applies bounds and delays."""
    reported = (load.aggregated_metrics or {}).get(BATCHES)
    if not reported:
        return load.target_num_replicas, {}
    return sum(reported.values()) / BATCHES_OF_A_REPLICA, {}
