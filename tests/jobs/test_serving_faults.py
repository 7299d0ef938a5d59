"""The benchmark of a disturbed server sees how long nobody was answered; tests/cluster serves with a real Ray."""

import pytest
from serving_faults import Heard


def test_the_longest_time_without_an_answer_counts_from_the_last_one_before_a_fault() -> None:
    heard = Heard(wanted=3, answered_at=[1.0, 9.0, 2.0, 12.0])  # as clients hear them, in no order

    assert heard.gap_s == heard.gap_since(1.5) == heard.gap_since(2.5) == pytest.approx(7.0)
    assert heard.gap_since(10.0) == pytest.approx(3.0)
    assert heard.gap_since(13.0) == 0.0
    assert Heard(wanted=0).gap_s == 0.0


def test_clients_go_on_until_nothing_more_happens_and_enough_was_answered() -> None:
    heard = Heard(wanted=2, answered_at=[1.0])

    assert not heard.is_over
    heard.has_suffered = True
    assert not heard.is_over
    heard.answered_at.append(2.0)
    assert heard.is_over
