"""Limits the rate of each caller's requests, by the generic cell rate algorithm (GCRA).

In:      the caller: its key, or its address if the server has no keys.
Out:     nothing if the request may go on.
Refuses: RateExceeded, with the seconds until the next request is allowed.

GCRA is a leaky bucket that keeps one number per caller: the theoretical arrival time of its next request, if all its
requests came evenly at the allowed rate. A request is refused if that time is too far ahead of now. The tolerance is
`BURST_S`, so a second's worth of requests may come at once.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from rlway_client.contract.errors import RateExceeded

MAX_CALLERS = 65536  # above that, callers without debt are forgotten, or else the one served longest ago
SWEEP_S = 1.0  # the least time between two searches for callers without debt
BURST_S = 1.0


class RateLimit:
    """The limit of one process."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._step_s = 1.0 / per_s
        self._clock = clock
        # Theoretical arrival times; the caller served last comes last.
        self._due_s: OrderedDict[Hashable, float] = OrderedDict()
        self._swept_s = -math.inf

    @property
    def callers(self) -> int:
        """The number of callers that are remembered."""
        return len(self._due_s)

    def take(self, caller: Hashable) -> None:
        """Counts a request of this caller, or raises RateExceeded."""
        now_s = self._clock()
        due_s = max(self._due_s.get(caller, 0.0), now_s) + self._step_s
        ahead_s = due_s - now_s - max(BURST_S, self._step_s)
        if ahead_s > 1e-9:
            raise RateExceeded(
                f"rate: expected at most {self._per_s:g} requests per second from one caller.", math.ceil(ahead_s)
            )
        if len(self._due_s) >= MAX_CALLERS and caller not in self._due_s:
            self._check_room(now_s)
        self._due_s[caller] = due_s
        self._due_s.move_to_end(caller)

    def _check_room(self, now_s: float) -> None:
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._due_s = OrderedDict((known, until_s) for known, until_s in self._due_s.items() if until_s > now_s)
        if len(self._due_s) >= MAX_CALLERS:
            self._due_s.popitem(last=False)
