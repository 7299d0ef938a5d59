"""Every command of the README and of the rooms' pages, run: smaller than it stands there, in its order."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import httpx
import nibabel
import numpy as np
import pytest
from PIL import Image
from tests.training.recipes import train_alone

from rayology.bundle import provenance_of, write_bundle
from rayology.commands import main
from rayology.commands import train as train_command
from rayology.data import PhantomConfig
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.metrics import class_accuracy
from rayology.models import VaeConfig
from rayology.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (
    README,
    *sorted((ROOT / "platform" / "rayology").glob("*/README.md")),
    ROOT / "jobs" / "benchmarks" / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
)
BLOCKS = {
    page: re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE) for page in PAGES
}
LINES = {
    page: [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for page, blocks in BLOCKS.items()
}
SERVING = ROOT / "platform" / "rayology" / "serving" / "README.md"
SERVED, *ASKED = [line for line in LINES[SERVING] if line.startswith(("rayology serve ", "rayology models ", "curl "))]
COMMANDS = [
    (page, line)
    for page, lines in LINES.items()
    for line in lines
    if line.startswith("rayology") and line not in (SERVED, *ASKED)
]
SUBMITTED = [line for line in LINES[README] if line.startswith("ray job submit")]
TESTED_ELSEWHERE = ("make ", ".venv/bin/pytest", "export ")
SMALLER = {
    "--schedule.steps": "4",
    "--schedule.evaluate-every": "2",
    "--search.grace-steps": "2",
    "--search.num-trials": "2",
    "--search.concurrent-trials": "1",
    "--preparation.size": "16",
}


def smaller(line: str, storage: Path) -> list[str]:
    """Return the words of a command with a storage of its own, and sizes that take seconds."""
    words = shlex.split(
        re.sub(r"--search\.num-trials \d+|--storage \S+|--scaling.num-workers 8", "", os.path.expandvars(line))
    )
    if "--resume" in words and "--schedule.steps" in words:
        words[words.index("--schedule.steps") + 1] = "6"
    if "deidentify" in line:
        return [*words, "--output", str(storage / "shared"), "--private", str(storage / "private")]
    if "generate" in line:
        return [*words, "--output", str(storage / "images")]
    words += ["--storage", str(storage)]
    if "publish" in line or "models" in line:
        words += ["--store", str(storage / "store")]
    if "jobs/experiments/" in line:
        words += [word for pair in SMALLER.items() for word in pair]
    if "phantom.yaml" in line:
        words += ["--source.patients", "9", "--source.slices", "3", "--source.size", "32"]
    return words


def path_with_the_environment() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def write_hippocampi(folder: Path) -> Path:
    """Write volumes of noise under the names of those that the README's experiment reads."""
    generator = np.random.default_rng(0)
    for number, name in itertools.product(range(14), ("images", "labels")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        voxels = generator.integers(0, 1000 if name == "images" else 3, (14, 16, 12)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name / f"hippocampus_{number:03d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what ``make demo`` leaves behind, and another version."""
    folder = tmp_path_factory.mktemp("demo")
    image = ImageSpec(size=(32, 32), classes=("consolidation", "effusion", "nodule"))
    demo = Store(str(folder / ".rayology" / "demo" / "store"))
    for seed in range(2):
        bundle = write_bundle(
            folder / f"bundle-{seed}",
            experiment=Experiment(seed=seed),
            model=VaeConfig().build(image),
            metrics={"copies": 0.0},
            provenance=provenance_of(dataset="none", note="", seed=seed, steps=1),
        )
        demo.publish(bundle, "demo")
    demo.set_champion("demo", demo.versions("demo")[0])
    return folder


@pytest.fixture(scope="module")
def served(store: Path, ray_cluster: str) -> Iterator[dict[str, str]]:  # noqa: ARG001 - the second Ray takes no jobs
    """Run the page's line that serves, and give the environment that its curl lines need."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"PATH": path_with_the_environment(), "PYTHONPATH": str(ROOT / "platform")}
    environment["RAYOLOGY_TOKEN"] = "choose-one"
    script = f"exec {SERVED.replace('serve_configs/', f'{ROOT}/serve_configs/')}"
    with (store / "serve.log").open("w") as log:
        server = subprocess.Popen(["bash", "-c", script], cwd=store, env=environment, stdout=log, stderr=log)
    try:
        _wait_for("http://127.0.0.1:8000/models/demo/healthz", server, store / "serve.log")
        yield environment
    finally:
        server.terminate()  # Ctrl-C would be ignored by what a background job started
        ended = server.wait(120)
    said = (store / "serve.log").read_text()
    assert ended == 0, said
    assert not [word for word in ("\x1b", "SIGTERM", "HTTPOptions", "retries", "HAProxy") if word in said], said
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:8000/models/demo/healthz")


def test_every_line_of_every_page_is_run_by_a_test() -> None:
    run = [line for _, line in COMMANDS] + SUBMITTED + ASKED + [SERVED]

    left = [line for lines in LINES.values() for line in lines if line.strip() and line not in run]

    assert [line for line in left if not line.strip().startswith(TESTED_ELSEWHERE)] == []
    assert len(COMMANDS) >= 10
    assert (len(SUBMITTED), len(ASKED)) == (1, 8)


def test_the_readme_fits_in_one_hand_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 130
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


@pytest.mark.usefixtures("ray_cluster")
def test_the_commands_run_in_the_order_of_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    series = PhantomConfig(patients=9, slices=3, size=32).build(tmp_path).items()[0].path.parents[2]
    monkeypatch.setattr(class_accuracy, "STEPS", 3)  # a constant; the classifier that looks at samples takes longest
    monkeypatch.setenv("SERIES", str(series))
    monkeypatch.setenv("VOLUMES", str(write_hippocampi(tmp_path / "volumes")))
    monkeypatch.chdir(tmp_path)

    for page, line in COMMANDS:
        words = [str(ROOT / word) if word.startswith("jobs/") else word for word in smaller(line, tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        if page != README:  # whose training is one on Ray: starting its workers takes longer than all else
            monkeypatch.setattr(train_command, "train", train_alone)
        try:
            main()  # in this process: a new one takes seconds to start
        except SystemExit as ended:
            pytest.fail(f"{page.parent.name}: {line}\n{ended.code} {capfd.readouterr().err[-2000:]}")
        answer = json.loads(capfd.readouterr().out)
        if page == README:
            monkeypatch.setenv("BUNDLE", str(answer.get("bundle", os.environ.get("BUNDLE", ""))))


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_is_submitted_to_a_cluster_with_its_token(tmp_path: Path) -> None:
    if "RAY_API_SERVER_ADDRESS" not in os.environ:
        pytest.skip("another Ray on this machine holds the port of the job agent")
    environment = {**os.environ, "PATH": path_with_the_environment(), "RAY_AUTH_MODE": "token"}
    words = smaller(SUBMITTED[0], tmp_path)

    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)

    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "succeeded" in ended.stdout
    assert list(tmp_path.glob("runs/*/bundle/bundle.json"))


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_without_the_token_is_refused(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": path_with_the_environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "wrong" * 8,
    }

    ended = subprocess.run(
        [Path(sys.executable).with_name("ray"), "job", "list"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )

    assert ended.returncode != 0


def test_the_page_on_serving_is_followed_line_by_line(served: dict[str, str], store: Path) -> None:
    Image.new("L", (40, 30), 128).save(store / "slice.png")
    first, second = Store(str(store / ".rayology" / "demo" / "store")).versions("demo")
    champions = {"promote": second, "rollback": first}

    def said(*words: str) -> str:
        environment = {**served, "VERSION": second}
        ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=store, env=environment)
        assert ended.returncode == 0, f"{words}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    for line in ASKED:
        said("bash", "-c", line.replace("--action promote", "--action promote --force"))  # nothing to compare them on
        if action := next((word for word in champions if f"--action {word}" in line), None):
            deadline = time.monotonic() + 20
            while f'"version":"{champions[action]}"' not in said("bash", "-c", ASKED[0]):
                assert time.monotonic() < deadline, line

    with Image.open(store / "sheet.png") as sheet, Image.open(store / "kept.png") as kept:
        assert (sheet.size, kept.size) == ((128, 128), (32, 32))
    with ZipFile(store / "images.zip") as images:
        assert len(images.namelist()) == 16
    assert f'version="{second}"' in (store / "metrics.txt").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", SERVING.read_text(encoding="utf-8"), re.DOTALL)
    assert "synthetic" in said(sys.executable, "-c", program)


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"no answer in time: {log.read_text()[-2000:]}")
