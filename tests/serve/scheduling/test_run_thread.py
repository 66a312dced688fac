"""The thread for long runs: beside the loop, in order, and gone with whoever had it."""

from __future__ import annotations

import asyncio
import gc
import threading

from rlway_serve.scheduling.run_thread import RunThread
from tests.ports import wait_for

NAME = "rlway-run-thread-test"


def living() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_results_come_back_in_order_while_the_loop_goes_on() -> None:
    """The second run starts when the first has ended, and the loop answers meanwhile."""

    async def run_two() -> list[str]:
        thread = RunThread(NAME)
        told: list[str] = []
        may_end, done = threading.Event(), asyncio.Event()

        def first() -> str:
            may_end.wait(120)
            return "first"

        thread.start(first, told.append)
        thread.start(lambda: threading.current_thread().name, told.append)
        thread.start(lambda: None, lambda _: done.set())
        await asyncio.sleep(0)  # the loop is free
        told.append("loop")
        may_end.set()
        await asyncio.wait_for(done.wait(), 120)
        thread.close()
        return told

    assert asyncio.run(run_two()) == ["loop", "first", NAME]
    assert living() == 0


def test_the_thread_ends_with_its_owner() -> None:
    """A version that was swapped out leaves no thread behind, although nobody closes it."""

    async def run_once() -> None:
        thread, done = RunThread(NAME), asyncio.Event()
        thread.start(lambda: thread, lambda _: done.set())  # the result knows its owner, as a batch's answers do
        await asyncio.wait_for(done.wait(), 120)
        assert living() == 1

    asyncio.run(run_once())
    gc.collect()
    wait_for(lambda: living() == 0, "the end of the thread")
