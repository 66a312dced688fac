"""A thread for runs that would hold up the event loop.

In:      a function, and a callback.
Out:     the function's result, given to the callback on the event loop.
Refuses: nothing; the function must not raise.

An executor makes two futures, takes three locks and calls the loop twice for each run. Here a run costs one put into a
queue and one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
Run = Callable[[], None]


class RunThread:
    """Runs one function after the other. The thread starts with the first run, and ends when this object is freed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._runs: SimpleQueue[Run | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[[], T], on_done: Callable[[T], object]) -> None:
        """Calls `run` on the thread; the event loop then calls `on_done` with the result."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            # The thread refers to the queue only, so that an unused version is freed, and ends its thread.
            self._thread = threading.Thread(target=_work, args=(self._runs,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._runs.put, None)

        def run_and_call_back() -> None:
            result = run()
            loop.call_soon_threadsafe(on_done, result)

        self._runs.put(run_and_call_back)

    def close(self) -> None:
        """Waits for the runs that were started."""
        if self._thread is not None:
            self._runs.put(None)
            self._thread.join()


def _work(runs: SimpleQueue[Run | None]) -> None:
    while (run := runs.get()) is not None:
        try:
            run()
        except Exception:  # such as a closed event loop; later runs still have to happen
            log.exception("a run was lost")
        del run  # it refers to the calls that wait for its result
