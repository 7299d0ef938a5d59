import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from rayology.errors import BusyError
from rayology.serving.batching import Batcher


def _doubled(numbers: Sequence[int]) -> Sequence[int]:
    if -1 in numbers:
        raise ArithmeticError(f"{len(numbers)} numbers with -1")
    return [2 * number for number in numbers]


def test_results_come_in_the_order_of_what_was_submitted() -> None:
    async def submit() -> list[list[int]]:
        batcher = Batcher(_doubled, ThreadPoolExecutor(1), batch_size=3, max_waiting=100)
        return await asyncio.gather(*(batcher.submit(range(count)) for count in (5, 1, 0, 7)))

    assert asyncio.run(submit()) == [[0, 2, 4, 6, 8], [0], [], [0, 2, 4, 6, 8, 10, 12]]


def test_what_queues_while_the_function_runs_makes_the_next_batch() -> None:
    sizes: list[int] = []
    gate = threading.Event()

    def count(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        sizes.append(len(numbers))
        return numbers

    async def submit() -> None:
        batcher = Batcher(count, ThreadPoolExecutor(1), batch_size=4, max_waiting=100)
        first = asyncio.create_task(batcher.submit([0]))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(batcher.submit([number])) for number in range(6)]
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(submit())

    assert sizes == [1, 4, 2]


def test_a_batch_that_fails_does_not_stop_the_next() -> None:
    async def submit() -> list[int]:
        batcher = Batcher(_doubled, ThreadPoolExecutor(1), batch_size=2, max_waiting=100)
        with pytest.raises(ArithmeticError, match="2 numbers"):
            await batcher.submit([-1, 1])
        return await batcher.submit([1])

    assert asyncio.run(submit()) == [2]


def test_what_a_client_gave_up_is_not_computed() -> None:
    seen: list[int] = []
    gate = threading.Event()

    def note(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        seen.extend(numbers)
        return numbers

    async def submit() -> None:
        batcher = Batcher(note, ThreadPoolExecutor(1), batch_size=1, max_waiting=100)
        kept = asyncio.create_task(batcher.submit([1]))
        given_up = asyncio.create_task(batcher.submit([2, 3]))
        last = asyncio.create_task(batcher.submit([4]))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(kept, last)

    asyncio.run(submit())

    assert seen == [1, 4]


def test_giving_up_while_the_batch_runs_harms_no_other() -> None:
    gate = threading.Event()

    def slow(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        return _doubled(numbers)

    async def submit(numbers: list[int]) -> None:
        batcher = Batcher(slow, ThreadPoolExecutor(1), batch_size=4, max_waiting=100)
        given_up = asyncio.create_task(batcher.submit(numbers))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.sleep(0.01)
        gate.set()
        assert await batcher.submit([3]) == [6]

    asyncio.run(submit([1]))
    asyncio.run(submit([-1]))


def test_requests_take_turns_so_that_few_images_do_not_wait_for_many() -> None:
    computed: list[int] = []
    gate = threading.Event()

    def note(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        computed.extend(numbers)
        return numbers

    async def submit() -> list[list[int]]:
        batcher = Batcher(note, ThreadPoolExecutor(1), batch_size=2, max_waiting=100)
        asked = [asyncio.create_task(batcher.submit(numbers)) for numbers in (range(10, 16), [1], range(20, 23))]
        await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(submit()) == [[*range(10, 16)], [1], [20, 21, 22]]
    assert computed == [10, 1, 20, 11, 21, 12, 22, 13, 14, 15]


def test_what_waits_and_what_is_computed_count_as_full_batches() -> None:
    gate = threading.Event()

    def slow(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        return _doubled(numbers)

    async def submit() -> tuple[float, float]:
        batcher = Batcher(slow, ThreadPoolExecutor(1), batch_size=4, max_waiting=100)
        asked = [asyncio.create_task(batcher.submit(numbers)) for numbers in ([-1], range(8))]
        await asyncio.sleep(0.01)
        busy = batcher.num_pending
        gate.set()
        await asyncio.gather(*asked, return_exceptions=True)
        return busy, batcher.num_pending

    assert asyncio.run(submit()) == (9 / 4, 0)


def test_more_than_may_wait_are_refused_at_once_with_when_to_come_again() -> None:
    gate = threading.Event()

    def slow(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        return numbers

    async def submit() -> float:
        batcher = Batcher(slow, ThreadPoolExecutor(1), batch_size=1, max_waiting=3)
        gate.set()
        await batcher.submit([0])
        gate.clear()
        asked = []
        for number in range(4):
            asked.append(asyncio.create_task(batcher.submit([number])))
            await asyncio.sleep(0.01)
        waiting = batcher.num_waiting
        with pytest.raises(BusyError, match="3 images wait to be computed") as busy:
            await batcher.submit([4])
        asked[-1].cancel()
        await asyncio.sleep(0.01)
        asked.append(asyncio.create_task(batcher.submit([5])))
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (waiting, batcher.num_waiting, batcher.num_batches, batcher.num_computed) == (3, 0, 5, 5)
        return busy.value.retry_after_s

    assert 0 < asyncio.run(submit()) < 5


def test_who_asks_for_few_images_finds_room_where_who_asks_for_many_does_not() -> None:
    gate = threading.Event()

    def slow(numbers: Sequence[int]) -> Sequence[int]:
        gate.wait()
        return numbers

    async def submit() -> list[list[int]]:
        batcher = Batcher(slow, ThreadPoolExecutor(1), batch_size=1, max_waiting=10)
        asked = list[asyncio.Task[list[int]]]()
        for numbers in ([0], range(4), [5, 6], range(99), [7]):
            asked.append(asyncio.create_task(batcher.submit(numbers)))
            await asyncio.sleep(0.01)
        *others, many, few = asked
        with pytest.raises(BusyError, match="6 images wait"):
            await many
        gate.set()
        return await asyncio.gather(*others, few)

    assert asyncio.run(submit()) == [[0], [0, 1, 2, 3], [5, 6], [7]]
