"""Walk the whole path on the built-in phantom: prepare, train, search, evaluate, serve, generate.

python jobs/demo.py jobs/experiments/demo.yaml
"""

import io
import os
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from rayology.client import Client
from rayology.commands import evaluate, prepare, train, tune
from rayology.commands.serve import require_free
from rayology.experiment import Experiment
from rayology.job import run
from rayology.progress import console
from rayology.serving.app import TOKEN, ServeArgs
from rayology.serving.app import run as served
from rayology.session import on_cluster
from rayology.store import Store
from rayology.training.evaluation_report import EvaluateConfig

PORT = 8000
STAGES = ("prepare", "train", "tune", "evaluate", "serve")


def main(experiment: Experiment) -> Mapping[str, object]:
    """Return where everything lies and the seconds of each stage."""
    require_free("127.0.0.1", PORT)
    storage = experiment.storage.absolute()
    seconds: dict[str, float] = {}
    # What Ray writes to stdout reads as errors, such as that the end of Serve's controller will be retried.
    with redirect_stdout(io.StringIO()), on_cluster():
        with stage("prepare", seconds):
            prepare.main(experiment)
        with stage("train", seconds):
            # A third of the steps: the sweep trains this very model again, to the last step.
            steps = max(1, experiment.schedule.steps // 3)
            trained = train.main(experiment.patched({"scaling": {"num_workers": 2}, "schedule": {"steps": steps}}))
        with stage("tune", seconds):
            tuned = tune.main(experiment)
        with stage("evaluate", seconds):
            champion = Store(str(tuned["store"])).fetch(experiment.name, str(tuned["champion"]))
            evaluated = evaluate.main(EvaluateConfig(bundle=champion, storage=storage, split="test"))
        with stage("serve", seconds):
            sheet = generate(storage, experiment.name)
    places = {
        "a VAE": trained["bundle"],
        "the champion": champion,
        "the sweep's table": f"{tuned['sweep']}/sweep.txt",
        "the sweep's page": tuned["page"],
        "all that was measured of it": evaluated["page"],
        "samples next to real images": evaluated["pictures"]["samples"],
        "the sheet that was served": sheet,
    }
    console.rule("What you have now")
    for name, place in places.items():
        console.print(f"{name}: {place}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"\nServe it again:  make serve\nand call it:     {curl(storage, experiment.name)}",
        markup=False,
        soft_wrap=True,
    )
    return {**{name.replace(" ", "_"): place for name, place in places.items()}, "stages": seconds}


@contextmanager
def stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Head a stage on the screen and time it."""
    console.rule(f"{len(seconds) + 1} of {len(STAGES)}: {name}")
    started_at = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started_at, 1)


def generate(storage: Path, name: str) -> Path:
    """Serve the champion for as long as it takes to ask for a sheet of samples."""
    token = storage / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    os.environ[TOKEN] = token.read_text(encoding="utf-8")
    sheet = storage / "served.png"
    with (
        served(ServeArgs(store=str(storage / "store"), model=name), name=name, port=PORT) as url,
        Client(url, token=os.environ[TOKEN]) as client,
    ):
        console.print(f"{url} answers: a {client.card().kind}.", highlight=False)
        sheet.write_bytes(client.generate_png(count=16, seed=7))
    return sheet


def curl(storage: Path, name: str) -> str:
    """Return the line that asks for the sheet again."""
    token = shlex.quote(str(storage / "token"))
    return (
        f'curl -H "Authorization: Bearer $(cat {token})" -H "Content-Type: application/json"'
        f""" -d '{{"count": 16, "seed": 7}}' -o sheet.png http://127.0.0.1:{PORT}/models/{name}/generate"""
    )


if __name__ == "__main__":
    run(Experiment, main)
