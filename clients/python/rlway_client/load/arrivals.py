"""When the requests of an open loop are due.

In:      a rate, a number of seconds.
Out:     times since the start, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import numpy as np

AT_ONCE = 4096  # times that are drawn together


class Arrivals(StrEnum):
    """`poisson`: independent callers, as many robots are together; `even`: one request each 1/rate seconds."""

    POISSON = "poisson"
    EVEN = "even"


def due_times(rate: float, duration_s: float, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Yields the seconds after the start at which a request is due, all below `duration_s`."""
    generator = np.random.default_rng(seed)
    drawn, last_s = 0, 0.0
    while True:
        if arrivals is Arrivals.EVEN:
            times = (drawn + np.arange(AT_ONCE)) / rate
            drawn += AT_ONCE
        else:
            times = last_s + np.cumsum(generator.exponential(1 / rate, AT_ONCE))
        last_s = float(times[-1])
        yield from times[times < duration_s].tolist()
        if last_s >= duration_s:
            return
