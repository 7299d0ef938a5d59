"""Optuna's dashboard on the journal of a sweep, where it is installed."""

import json
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from rayology.experiment import Experiment
from rayology.search.journal import JOURNAL, Journal
from rayology.search.marks import dimensions, starting_points
from rayology.search.space import Space


def test_the_dashboard_lists_a_sweep_with_its_trials(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    experiment, journal = Experiment(), Journal(tmp_path)
    for start in starting_points(experiment)[:2]:
        journal.begin(Space(dimensions(experiment)), start, seed=7)
    journal.report(0, 25, 3.0)
    journal.end(0, "finished", [2.0])
    serve = dashboard.wsgi(JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL))))

    def got(path: str) -> dict[str, list[dict[str, object]]]:
        environ: dict[str, object] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        return json.loads(b"".join(serve(environ, lambda *_: None)))

    assert [study["study_name"] for study in got("/api/studies")["study_summaries"]] == [tmp_path.name]
    assert [trial["state"] for trial in got("/api/studies/0")["trials"]] == ["Complete", "Running"]
