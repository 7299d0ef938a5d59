"""What happens to a run besides its steps."""

import logging
from pathlib import Path

from rayology.training.cluster import Incidents
from rayology.training.incidents import read_incidents, recording, tell


def test_what_a_worker_logs_of_its_training_is_told_where_the_run_is_watched(tmp_path: Path) -> None:
    with recording(tmp_path):
        logging.getLogger("rayology.training.checkpoint").info("The training goes on from step %d.", 7)
        logging.getLogger("rayology.data").warning("nothing of a training")
    logging.getLogger("rayology.training.checkpoint").warning("after it")

    (line,) = read_incidents(tmp_path)
    assert line[20:] == "The training goes on from step 7."


def test_what_happened_to_a_storage_is_told_when_it_is_there_again(tmp_path: Path) -> None:
    logger = logging.getLogger("rayology.training.history")
    with recording(tmp_path / "run"):
        logger.warning("gone")
        (tmp_path / "run").mkdir()
        logger.info("back")
        (tmp_path / "run").rename(tmp_path / "away")
        logger.warning("gone again")
        (tmp_path / "away").rename(tmp_path / "run")

    assert [line[20:] for line in read_incidents(tmp_path / "run")] == ["gone", "back", "gone again"]


def test_a_storage_that_is_gone_costs_the_line_alone(tmp_path: Path) -> None:
    tell(tmp_path / "gone", "nothing reads this")

    assert read_incidents(tmp_path / "gone") == []


def test_of_workers_that_end_together_the_one_that_was_lost_is_named_once(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    waited, lost = RuntimeError("trace\nConnection closed by peer"), RuntimeError("A worker health check failed.\nx")

    incidents.after_exception(None, {0: waited, 1: lost})
    incidents.after_exception(None, {0: waited, 1: lost})
    incidents.after_exception(None, {0: waited})

    assert [line[20:] for line in read_incidents(tmp_path)] == [
        "Worker 1 of the training ended: its process or machine was lost, or it hung.",
        "Worker 0 of the training ended: Connection closed by peer.",
    ]
