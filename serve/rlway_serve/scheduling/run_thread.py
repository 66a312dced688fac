"""A thread for runs that would hold up the event loop.

In:      a function, and who wants its result.
Out:     the result, given to a callback on the event loop.
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
    """One run after the other. It starts with the first one, and ends with this object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._runs: SimpleQueue[Run | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[[], T], on_done: Callable[[T], object]) -> None:
        """Runs it beside the event loop, which calls `on_done` with the result."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            # It knows the queue alone: a version that nobody uses any more takes its thread with it.
            self._thread = threading.Thread(target=_work, args=(self._runs,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._runs.put, None)

        def run_and_tell() -> None:
            result = run()
            loop.call_soon_threadsafe(on_done, result)

        self._runs.put(run_and_tell)

    def close(self) -> None:
        """Waits for the run that is going on."""
        if self._thread is not None:
            self._runs.put(None)
            self._thread.join()


def _work(runs: SimpleQueue[Run | None]) -> None:
    while (run := runs.get()) is not None:
        try:
            run()
        except Exception:  # the loop has gone, or nobody knows what: others still have to run
            log.exception("a run was lost")
        del run  # which knows who waits for its result
