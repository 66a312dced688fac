"""Acts at a fixed rate without an environment, to measure what a robot's control loop could rely on.

In:      what acts, a rate.
Out:     how long each action took, and how late each tick began.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rlway_client.common.histogram import Histogram


class RateReport(NamedTuple):
    """What `ticks` ticks were like.

    missed:  ticks that began more than a period late.
    acting:  how long the actions took.
    late:    how late the ticks began: what the operating system adds, and what the last action was too slow.
    """

    rate_hz: float
    ticks: int
    missed: int
    acting: Histogram
    late: Histogram

    def as_json(self) -> dict[str, Any]:
        """Counts, and percentiles in microseconds."""
        times = {"act_us": self.acting, "late_us": self.late}
        counts = {"rate_hz": self.rate_hz, "ticks": self.ticks, "missed": self.missed}
        return counts | {name: micros(histogram) for name, histogram in times.items()}


def keep_rate(act: Callable[[], object], rate_hz: float, duration_s: float) -> RateReport:
    """Calls `act` every 1 / rate_hz seconds."""
    ticks, missed = max(1, int(rate_hz * duration_s)), 0
    acting, late = Histogram(), Histogram()
    start_s = time.perf_counter()
    for i in range(ticks):
        due_s = start_s + i / rate_hz
        time.sleep(max(0.0, due_s - time.perf_counter()))
        begun_s = time.perf_counter()
        act()
        acting.record(time.perf_counter() - begun_s)
        late.record(max(0.0, begun_s - due_s))
        missed += begun_s - due_s > 1 / rate_hz
    return RateReport(rate_hz, ticks, missed, acting, late)


def micros(histogram: Histogram) -> dict[str, float]:
    """Its percentiles in microseconds."""
    return {name: value * 1e3 for name, value in histogram.summary_ms().items()}
