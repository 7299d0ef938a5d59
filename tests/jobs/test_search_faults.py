"""The benchmark of killed sweeps sees what is lost, repeated or other; tests/cluster interrupts a sweep."""

from dataclasses import replace

from search_faults import Difference, compared

from rayology.search.journal import Trial

ALONE = [Trial(number, {"optimizer.lr": 0.1 * number}, 0, losses=(1.0,), outcome="finished") for number in range(3)]


def test_what_a_sweep_lost_repeated_or_changed_is_counted() -> None:
    again = Trial(3, ALONE[0].point, 0, losses=(1.0,), outcome="finished")
    repeat = Trial(3, ALONE[0].point, 7, repeats=0, losses=(1.0,), outcome="finished")
    cut_off = Trial(2, ALONE[2].point, 0)

    assert compared(ALONE, ALONE) == Difference(0, 0, ())
    assert compared([*ALONE, again], ALONE) == Difference(0, 1, (3,))
    assert compared([*ALONE[:2], cut_off], ALONE) == Difference(1, 0, (2,))
    assert compared(ALONE[:2], ALONE) == Difference(1, 0, (2,))
    assert compared(ALONE, [*ALONE, repeat]) == Difference(0, 0, (3,))
    assert compared([*ALONE, replace(repeat, outcome="", losses=())], [*ALONE, repeat]) == Difference(1, 0, (3,))
