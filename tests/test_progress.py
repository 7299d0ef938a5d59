"""What people see while they wait, mostly where there is no terminal."""

import io
import time

import pytest
from rich.console import Console

from rayology import progress
from rayology.progress import Bar, progress_bar, watching


def test_what_is_done_before_anything_can_be_counted_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("prepare", "listing files"):
        pass

    assert capsys.readouterr().err == "prepare: listing files\n"


def test_each_of_a_few_parts_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("evaluate") as bar:
        bar.advance(0, 2, "figures")
        bar.advance(1, 2, "samples")
        bar.advance(1, 2, "samples")
        bar.advance(2, 2)

    assert capsys.readouterr().err == "evaluate: 0/2  figures\nevaluate: 1/2  samples\nevaluate: 2/2\n"


def test_many_parts_have_a_line_now_and_then_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    # The clock; a test that waits for it takes as long.
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress_bar("train") as bar:
        for done in range(1, 101):
            now += 0.5
            bar.advance(done, 100, "loss 1")

    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: 21/100, 2/s, 40 s left  loss 1"
    assert len(said) == 5
    assert said[-1] == "train: 100/100, 2/s, 0 s left  loss 1"


def test_a_stage_is_named_when_it_begins_and_its_time_left_is_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    # The clock; a test that waits for it takes as long.
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress_bar("prepare") as bar:
        bar.advance(1000, 1000, "reading")
        now = 500.0
        bar.advance(0, 1000, "comparing")
        now = 600.0
        for done in range(1, 1001):
            now += 0.5
            bar.advance(done, 1000, "writing")

    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["prepare: comparing", "prepare: 21/1000, 2/s, 490 s left  writing"]


def test_the_time_left_of_what_goes_on_counts_from_when_it_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    # The clock; a test that waits for it takes as long.
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress_bar("train") as bar:
        for _ in range(60):  # the workers start
            now += 1
            bar.advance(900, 1000)
        for done in range(901, 950):
            now += 1
            bar.advance(done, 1000)

    assert capsys.readouterr().err.splitlines()[-1].startswith("train: 940/1000, 1/s, 60 s left")


def test_what_is_waited_for_is_said_after_a_while_and_again_but_not_while_something_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    # The clock; a test that waits for it takes as long.
    monkeypatch.setattr(time, "monotonic", lambda: now)
    said_at = []
    with progress_bar("train") as bar:
        for second in range(1, 101):
            now = second
            bar.wait(lambda: "waiting for 1 core" if now < 80 else "")  # noqa: B023 - it is the clock
            if capsys.readouterr().err:
                said_at.append(now)
        for done in range(1, 100):
            now = 100 + done
            bar.advance(done, 1000)
            bar.wait(lambda: pytest.fail("something is done"))

    assert said_at == [5, 65]


def test_on_a_narrow_terminal_the_words_give_way_to_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    terminal = Console(file=written, width=70, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "console", terminal)  # the tests have no terminal

    with progress_bar("train") as bar:
        bar.advance(810, 2000, f"320 images/s  lr 0.002{' ' * 80}val/mmd 3")

    shown = written.getvalue()
    assert "810/2000" in shown
    assert "320 images/s  lr 0.002" in shown
    assert "val/mmd" not in shown


def test_what_is_watched_may_be_out_of_reach_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    looks = 0

    def look(bar: Bar) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise FileNotFoundError
        bar.advance(looks, 3)

    with watching("train", "", look, every_s=0.001):
        while looks < 3:
            time.sleep(0.001)

    assert "train: 3/3" in capsys.readouterr().err


def test_a_terminal_shows_what_is_below_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = io.StringIO()
    # The terminal: tests have none.
    monkeypatch.setattr(progress, "console", Console(file=seen, force_terminal=True, width=80))

    with progress_bar("tune") as bar:
        bar.show("what runs")

    assert "what runs" in seen.getvalue()
