"""Waits a moment, after a long run, for the callers that it answered: a robot asks again as soon as it has its action.

In:      a run that has ended: how many calls it answered, how many others wait, and how long it took.
Out:     `start` is called once as many calls wait as were answered and waiting together, or the moment is over.
Refuses: nothing.

Without it, robots in a closed loop fall into two groups, of which one waits while the other's run goes on: each action
then takes two runs. The moment is a tenth of the run, so a call that waits loses little. If nobody comes back in it,
the next moments are left out, at first one and at most 16 in a row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONG_S = 2e-3  # runs from here on are waited after
SHARE, MOST_S = 0.1, 5e-3  # of the run, and at most
MOST_SKIPPED = 16


class Rejoin:
    """The waits of one batcher."""

    __slots__ = ("_awaited", "_found", "_left", "_skipped", "_start", "timer")

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self.timer: asyncio.TimerHandle | None = None  # while a moment goes on
        self._awaited = 0  # how many calls are to wait
        self._found = 0  # how many waited when the run ended
        self._skipped = 0  # how many moments are left out after one in which nobody came
        self._left = 0  # how many of these are still to be left out

    def begin(self, answered: int, waiting: int, run_s: float) -> bool:
        """Begins to wait, if that may help; returns whether it did."""
        if run_s < LONG_S:
            return False
        if self._left:
            self._left -= 1
            return False
        self._awaited, self._found = answered + waiting, waiting
        moment_s = min(SHARE * run_s, MOST_S)
        self.timer = asyncio.get_running_loop().call_later(moment_s, self._end, waiting)
        return True

    def arrived(self, waiting: int) -> None:
        """A call has come; `waiting` wait now."""
        if self.timer is not None:
            self._found = waiting
            if waiting >= self._awaited:
                self.timer.cancel()
                self._end(0)

    def _end(self, found_before: int) -> None:
        came = self._found > found_before
        self.timer = None
        self._skipped = 0 if came else min(2 * self._skipped or 1, MOST_SKIPPED)
        self._left = self._skipped
        self._start()
