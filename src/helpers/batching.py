"""Requests that come together are computed together (taught in notebook 08).

While one batch is computed, others wait in a bounded queue; then all that wait make the
next batch. Alone, a request never waits for company. One thread computes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

FULL = "too many requests at once; come again in a second"
CLOSING = "the service is about to stop; come again in a moment"


class Busy(Exception):
    """Come again later: the queue is full, or closing."""


class Batcher:
    """`submit` gives what `work` made of an item; `work` takes a list and gives a list.

    Of a list that `work` gives, an exception is raised where its item was submitted.
    """

    def __init__(self, work: Callable[[list], list], most: int = 16, room: int = 64):
        self.work, self.most = work, most
        self.queue: asyncio.Queue = asyncio.Queue(room)
        self.thread = ThreadPoolExecutor(1, "model")
        self.sizes: list[int] = []  # of the last batches
        self.closing = False
        self.task: asyncio.Task | None = None

    async def submit(self, item):
        """The result for one item and the seconds that it waited; or `Busy`."""
        if self.closing:
            raise Busy(CLOSING)
        if self.task is None:
            self.task = asyncio.create_task(self._run())
        answer = asyncio.get_running_loop().create_future()
        try:
            self.queue.put_nowait((item, answer, perf_counter()))
        except asyncio.QueueFull:
            raise Busy(FULL) from None
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.queue.get()]
            while len(batch) < self.most and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            wanted = [entry for entry in batch if not entry[1].done()]  # some hung up
            if wanted:
                start = perf_counter()
                self.sizes = [*self.sizes[-99:], len(wanted)]
                try:
                    items = [item for item, *_ in wanted]
                    done = await loop.run_in_executor(self.thread, self.work, items)
                except Exception as error:
                    done = [error] * len(wanted)
                for (_, answer, came), result in zip(wanted, done, strict=True):
                    if answer.done():
                        continue
                    if isinstance(result, Exception):
                        answer.set_exception(result)
                    else:
                        answer.set_result((result, start - came))
            for _ in batch:
                self.queue.task_done()

    async def close(self) -> None:
        """Takes nothing more, and returns when all that was taken is answered."""
        self.closing = True
        await self.queue.join()
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        self.thread.shutdown()
