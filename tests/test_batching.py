"""Requests that come together are computed together, and none is lost."""

import asyncio
import threading

import pytest

from helpers.batching import Batcher, Busy


class Work:
    """Doubles numbers, when it is let; keeps what it was given."""

    def __init__(self):
        self.seen, self.go = [], threading.Event()

    def __call__(self, items):
        self.seen.append(list(items))
        assert self.go.wait(60)
        return [ValueError("odd") if x % 2 else 2 * x for x in items]


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0)


async def started(batcher, work, items):
    """Tasks for these, the first of them being computed, the others waiting."""
    tasks = [asyncio.create_task(batcher.submit(items[0]))]
    await until(lambda: work.seen)
    tasks += [asyncio.create_task(batcher.submit(x)) for x in items[1:]]
    await until(lambda: batcher.queue.qsize() == len(items) - 1)
    return tasks


def test_what_waits_is_computed_together_in_order():
    async def run():
        batcher = Batcher(work := Work(), most=3)
        tasks = await started(batcher, work, [0, 2, 4, 6, 8])
        work.go.set()
        assert [result for result, _ in await asyncio.gather(*tasks)] == [
            0,
            4,
            8,
            12,
            16,
        ]
        assert work.seen == [[0], [2, 4, 6], [8]] and batcher.sizes == [1, 3, 1]
        await batcher.close()

    asyncio.run(run())


def test_an_error_strikes_its_own_request_alone():
    async def run():
        batcher = Batcher(work := Work())
        work.go.set()
        done = await asyncio.gather(
            *(batcher.submit(x) for x in (2, 3, 4)), return_exceptions=True
        )
        assert [type(d) for d in done] == [tuple, ValueError, tuple]

        def broken(_):
            raise KeyError("all")

        batcher.work = broken
        for _ in range(2):  # and the next batch is computed again
            with pytest.raises(KeyError):
                await batcher.submit(2)
        await batcher.close()

    asyncio.run(run())


def test_a_full_queue_refuses():
    async def run():
        batcher = Batcher(work := Work(), room=2)
        tasks = await started(batcher, work, [0, 2, 4])
        with pytest.raises(Busy):
            await batcher.submit(6)
        work.go.set()
        assert [result for result, _ in await asyncio.gather(*tasks)] == [0, 4, 8]
        await batcher.close()

    asyncio.run(run())


def test_closing_answers_all_that_was_taken_and_takes_no_more():
    async def run():
        batcher = Batcher(work := Work(), most=1)
        tasks = await started(batcher, work, [0, 2, 4])
        closing = asyncio.create_task(batcher.close())
        await until(lambda: batcher.closing)
        with pytest.raises(Busy):
            await batcher.submit(6)
        assert not any(task.done() for task in (*tasks, closing))
        work.go.set()
        await closing
        assert [task.result()[0] for task in tasks] == [0, 4, 8]

    asyncio.run(run())


def test_who_hangs_up_costs_nothing():
    async def run():
        batcher = Batcher(work := Work())
        tasks = await started(batcher, work, [0, 2, 4])
        tasks[1].cancel()
        await until(tasks[1].done)
        work.go.set()
        assert (await tasks[2])[0] == 8 and work.seen == [[0], [4]]
        await batcher.close()

    asyncio.run(run())


def test_closing_what_was_never_used():
    asyncio.run(Batcher(Work()).close())
