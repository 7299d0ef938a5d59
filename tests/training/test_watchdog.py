"""A step that takes too long."""

import subprocess
import sys
import time

from rayology.training.watchdog import watchdog

HANGS = """
import threading
from rayology.training.watchdog import watchdog

with watchdog(0.1):
    threading.Event().wait(60)
"""


def test_a_process_whose_step_hangs_ends_and_says_where_it_was() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=False, timeout=50)

    assert ended.returncode == 1
    assert 'File "<string>", line 6' in ended.stderr


def test_a_process_that_moves_goes_on_and_is_not_watched_any_more_at_the_end() -> None:
    with watchdog(3.0) as move:
        for _ in range(50):
            move()
            time.sleep(0.08)
