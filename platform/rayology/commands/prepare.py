"""Prepare a source: decode it once, bring it to one size and range, split it by patient.

rayology prepare FILE.yaml --storage /data/rayology
rayology prepare --source.kind folder --source.path /data/ct --storage /data/rayology
"""

from collections.abc import Mapping

from rayology.experiment import Experiment
from rayology.interruption import interruptible
from rayology.preflight import require_places
from rayology.session import on_cluster, prepared


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return where the dataset lies and what it holds."""
    require_places(experiment)
    with interruptible("the same command again"), on_cluster():
        data = prepared(experiment)
    return {"dataset": data.path, "images": data.info.counts.images, "reused": data.reused, "note": data.info.note}
