"""Ctrl-C: said at once, an exit with 130 in a bounded time, and at once when it comes again."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rayology import interruption
from rayology.commands import train
from rayology.config import Config
from rayology.experiment import Experiment
from rayology.interruption import interruptible
from rayology.job import run

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Let signals interrupt, also where the shell had them ignored, and leave them as they were."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interruption_is_said_at_once_and_whatever_fails_then_the_exit_status_is_130(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    said = ""

    def work(_: Config) -> dict[str, object]:
        nonlocal said
        try:
            signal.raise_signal(number)
        finally:
            said = capsys.readouterr().err
            raise OSError("the cluster is gone")

    with pytest.raises(SystemExit) as ended:
        run(Config, work, arguments=[])

    assert ended.value.code == 130
    assert said == "Interrupted: it ends within 25 s, and at once if interrupted again.\n"
    assert capsys.readouterr().err == ""


def test_an_interrupted_training_says_how_it_goes_on(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "two words"
    # Instead of the start of a cluster, the moment of interest.
    monkeypatch.setattr(train, "trained", lambda _: signal.raise_signal(signal.SIGINT))

    with pytest.raises(SystemExit):
        train.main(small.patched({"storage": str(storage)}))

    (begun,) = (storage / "runs").iterdir()
    assert capsys.readouterr().err.endswith(f" train --storage '{storage}' --resume {begun.name}\n")


@pytest.mark.parametrize("most_s", [60, 0.01])
def test_a_second_interruption_or_too_long_an_end_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, most_s: float
) -> None:
    ends: list[int] = []
    # The process is that of all tests.
    monkeypatch.setattr(os, "_exit", ends.append)
    monkeypatch.setattr(interruption, "MOST_S", most_s)

    def end_slowly() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            if most_s == 60:
                signal.raise_signal(signal.SIGTERM)
            deadline = time.monotonic() + 10
            while not ends and time.monotonic() < deadline:
                time.sleep(0.01)

    with pytest.raises(SystemExit), interruptible():
        end_slowly()

    assert ends == [130]


def test_signals_do_after_the_block_what_they_did_before_it_and_ignored_ones_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with interruptible():
        signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_a_job_that_swallowed_its_interrupt_does_not_go_on() -> None:
    def work(_: Config) -> dict[str, object]:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return {}

    with pytest.raises(SystemExit) as ended:
        run(Config, work, arguments=[])

    assert ended.value.code == 130


def test_a_job_that_only_an_interruption_ends_has_its_own_exit_status() -> None:
    with pytest.raises(SystemExit) as ended, interruptible(), interruptible(status=0):
        signal.raise_signal(signal.SIGTERM)

    assert ended.value.code == 0
