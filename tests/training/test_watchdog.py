"""A step that takes too long."""

import os
import threading
import time

import pytest

from rayology.training.watchdog import watchdog


def test_a_process_whose_step_hangs_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    # The end of the process; this one is the tests'.
    monkeypatch.setattr(os, "_exit", lambda status: ended.set() if status == 1 else None)

    with watchdog(0.05):
        assert ended.wait(10)

    assert "took no step" in caplog.text
    assert "test_watchdog.py" in capfd.readouterr().err


def test_a_process_that_moves_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", lambda _: pytest.fail("it moved"))

    with watchdog(0.4) as move:
        for _ in range(10):
            move()
            time.sleep(0.1)
