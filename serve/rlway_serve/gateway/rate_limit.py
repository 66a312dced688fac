"""How often one caller may ask.

In:      who asks: the key, or where there are no keys, the address.
Out:     nothing: the request goes on.
Refuses: RateExceeded, with the seconds after which the next request fits.

One number per caller: the time at which all that it has asked would have been due at the steady rate. A second's worth
of requests may come at once.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from rlway_client.contract.errors import RateExceeded

MAX_CALLERS = 65536  # remembered; then who has paused is forgotten, or else who was served longest ago
SWEEP_S = 1.0  # between looks for those who have paused
BURST_S = 1.0


class Rates:
    """One per process."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._step_s = 1.0 / per_s
        self._clock = clock
        self._due_s: OrderedDict[Hashable, float] = OrderedDict()  # who was served last comes last
        self._swept_s = -math.inf

    @property
    def callers(self) -> int:
        """How many are remembered."""
        return len(self._due_s)

    def take(self, caller: Hashable) -> None:
        """One request of this caller's."""
        now_s = self._clock()
        due_s = max(self._due_s.get(caller, 0.0), now_s) + self._step_s
        ahead_s = due_s - now_s - max(BURST_S, self._step_s)
        if ahead_s > 1e-9:
            raise RateExceeded(
                f"rate: expected at most {self._per_s:g} requests per second from one caller.", math.ceil(ahead_s)
            )
        if len(self._due_s) >= MAX_CALLERS and caller not in self._due_s:
            self._make_room(now_s)
        self._due_s[caller] = due_s
        self._due_s.move_to_end(caller)

    def _make_room(self, now_s: float) -> None:
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._due_s = OrderedDict((known, until_s) for known, until_s in self._due_s.items() if until_s > now_s)
        if len(self._due_s) >= MAX_CALLERS:
            self._due_s.popitem(last=False)
