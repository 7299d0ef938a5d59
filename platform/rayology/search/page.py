"""A sweep on one page to look at, without anything to fetch: who won, how it went, and what mattered."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure
from PIL import Image

from rayology.config import differing, nested
from rayology.experiment import Experiment
from rayology.metrics import METRICS
from rayology.page import image, note, page, safe, table
from rayology.search import charts
from rayology.search.importance import FEWEST, importances
from rayology.search.journal import Trial, trial_name
from rayology.search.marks import candidate
from rayology.search.results import SweepResult, with_margin
from rayology.search.results import table as trials_table

__all__ = ["sweep_page", "to_train_again"]

SHEETS = 4  # of the leaders


def sweep_page(found: SweepResult) -> bytes:
    """Return the page of a sweep, which tells neither whom its images show nor where they lie."""
    body = [
        f"<p><b>{safe(found.verdict)}</b></p>" if found.is_told_apart else note(found.verdict),
        table(_facts(found)),
        *_finalists(found),
        *_charts(found),
        *_leaders(found),
        *_trials(found),
    ]
    return page(f"Sweep {found.folder.name}", body)


def to_train_again(experiment: Experiment) -> str:
    """Return a file that trains as an experiment did: values that are not the defaults, and no path or text of it.

    A source that is not the phantom is named alone, so that whoever trains is asked for what it needs.
    """
    base, kinds = Experiment(), dict[str, object]()
    while chosen := {
        path: own
        for path, (own, other) in _differing(experiment, base).items()
        if path.endswith(".kind") and None not in (own, other)
    }:
        kinds |= chosen
        base = Experiment().patched(nested(kinds))
    source = {
        path: own
        for path, (own, other) in differing(experiment, Experiment()).items()
        if path == "source.kind" or (path.startswith("source.") and other is not None and isinstance(own, int | float))
    }
    values = {path: own for path, (own, _) in _differing(experiment, base).items()}
    return yaml.safe_dump(nested({**source, **kinds, **values}), sort_keys=False)


def _differing(experiment: Experiment, base: Experiment) -> dict[str, tuple[object, object]]:
    """Return what decides over a training and differs, without its source."""
    elsewhere = {"init", "resume", "search", "source", "storage"}
    return {path: pair for path, pair in differing(experiment, base).items() if path.partition(".")[0] not in elsewhere}


def _facts(found: SweepResult) -> Iterator[tuple[str, str]]:
    search = found.experiment.search
    better = "lower" if METRICS[search.objective].direction == "min" else "higher"
    outcomes = Counter(trial.outcome or "running" for trial in found.explored)
    again = sum(trial.repeats is not None for trial in found.trials)
    hours = sum(trial.seconds for trial in found.trials) / 3600
    yield "objective", f"{search.objective} on the validation split, {better} is better"
    yield "trials that have ended", f"{found.num_ended} of {search.num_trials}"
    yield "outcomes", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    yield "trainings that repeat finalists", str(again)
    yield "hours of all trainings together", f"{hours:.2g}"


def _finalists(found: SweepResult) -> Iterator[str]:
    if not found.standings:
        return
    objective = found.experiment.search.objective
    by_number = {trial.number: trial for trial in found.trials}
    rows = [
        (
            by_number[standing.number].name,
            by_number[standing.number].kind,
            with_margin(objective, standing),
            standing.count,
            f"{standing.probability:.0%}",
        )
        for standing in found.standings
    ]
    yield "<h2>Finalists</h2>"
    yield table(rows, head=("trial", "kind", objective, "fresh seeds", "is the best with a probability of"))


def _charts(found: SweepResult) -> Iterator[str]:
    if not found.explored:
        return
    yield f"<h2>History</h2>{_svg(charts.history(found), found)}"
    yield f"<h2>Curves</h2>{_svg(charts.curves(found), found)}"
    if found.experiment.search.tradeoffs:
        yield "<h2>Objectives</h2><p>Grey trials are dominated: another one is at least as good in all of them.</p>"
        yield _svg(charts.front(found), found)
    yield "<h2>Choices</h2><p>Each line is a trial, with a point in each dimension that is open to it.</p>"
    for kind in dict.fromkeys(trial.kind for trial in found.explored):
        if drawn := charts.coordinates(found, kind):
            yield f"<h3>{safe(kind)}</h3>{_svg(drawn, found)}"
    yield "<h2>Importance</h2>"
    if shares := importances(found):
        yield "<p>Shares in what tells the best quarter of all trials from the others, stopped ones included"
        yield f"(PED-ANOVA), of dimensions that were open to at least {FEWEST} trials.</p>"
        yield _svg(charts.importance_bars(shares), found)
    else:
        yield f"<p>Too few trials: it takes {FEWEST} that ended and to which a dimension was open.</p>"


def _leaders(found: SweepResult) -> Iterator[str]:
    """Show samples of the leaders, which show nobody, unless the model may copy; and how to train the first again."""
    trainings: dict[int, list[Trial]] = {}
    for trial in found.candidates:
        trainings.setdefault(trial.number if trial.repeats is None else trial.repeats, []).append(trial)
    shown, winner = [], found.promotable
    for own in trainings.values():
        trial = next((each for each in own if not found.refusals_of(each)), own[0])
        refused = found.refusals_of(trial)
        caption = safe("; ".join([f"{_called(trial)}, {trial.kind}", *refused]))
        with suppress(FileNotFoundError), Image.open(found.bundle(trial) / "samples.png") as sheet:
            picture = "" if refused else image(sheet, alt=trial.name)
            shown.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
        if len(shown) >= SHEETS:
            break
    if shown:
        yield f'<h2>Samples of the leaders</h2><p>They are synthetic.</p><div class="row">{"".join(shown)}</div>'
    if winner:
        written = to_train_again(candidate(found.experiment, winner.point, seed=winner.seed))
        yield f"<h2>To train {_called(winner)}, again</h2><pre>{safe(written)}</pre>"


def _called(trial: Trial) -> str:
    """Name a trial, and the finalist that it repeats."""
    return trial.name if trial.repeats is None else f"{trial.name}, which repeats {trial_name(trial.repeats)}"


def _trials(found: SweepResult) -> Iterator[str]:
    columns = trials_table(found).columns
    rows = zip(*(column.cells for column in columns), strict=True)
    laid_out = table(rows, head=[str(column.header) for column in columns])
    yield f"<h2>Trials</h2><details><summary>All {len(found.explored)}, the best first</summary>{laid_out}</details>"


def _svg(figure: Figure, found: SweepResult) -> str:
    """Return a chart as a part of the page; a trial tells its name where the pointer rests on it."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rayology"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    described = {
        trial.name: safe(f"{trial.name}, {trial.kind}, {trial.outcome or 'running'}: {found.figure(trial)}")
        for trial in found.trials
    }
    named = re.sub(r'<g id="(trial-\d+)">', lambda tag: f'<g class="trial"><title>{described[tag[1]]}</title>', drawn)
    nameless = re.sub(r'<g id="[^"]*">', "<g>", named)  # several charts on a page would have the same names
    return f"<figure>{nameless}</figure>"
