"""What happened at the ticks of a control loop.

In:      each tick as it ends.
Out:     counts, and percentiles over the last `KEPT` ticks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

KEPT = 65_536
PERCENTILES = (50, 99, 100)


class Ticks:
    """Counts of ticks and actions.

    fresh:    ticks that executed the action for their own observation.
    late:     ticks that executed an action for an older observation, new to them.
    starved:  ticks without a new action: the last one was executed again, or none before the first.
    missed:   ticks that were left out, because the loop was more than a period late.
    dropped:  observations that the policy never got, because a newer one came first.
    failed:   observations for which the policy raised an error; `fault` is the last one.
    """

    def __init__(self) -> None:
        self.fresh = self.late = self.starved = self.missed = self.dropped = self.failed = 0
        self.fault: str | None = None
        self._ages_s = _Ring()
        self._late_s = _Ring()

    @property
    def total(self) -> int:
        """The ticks that took place."""
        return self.fresh + self.late + self.starved

    def count(self, age_s: float | None, is_fresh: bool, is_new: bool) -> None:
        """A tick executed an action of this age; None for no action."""
        if is_fresh:
            self.fresh += 1
        elif is_new:
            self.late += 1
        else:
            self.starved += 1
        if age_s is not None:
            self._ages_s.add(age_s)

    def begun_late(self, late_s: float) -> None:
        """A tick began that much later than its rate says."""
        self._late_s.add(late_s)

    def report(self) -> dict[str, Any]:
        """All of it, for JSON: times in milliseconds as median, 99th percentile and maximum."""
        counts = ("total", "fresh", "late", "starved", "missed", "dropped", "failed", "fault")
        times = {"age_ms": self._ages_s.summary_ms(), "begun_late_ms": self._late_s.summary_ms()}
        return {name: getattr(self, name) for name in counts} | times


class _Ring:
    """The last `KEPT` numbers."""

    def __init__(self) -> None:
        self._values = np.empty(KEPT, np.float64)
        self._count = 0

    def add(self, value: float) -> None:
        self._values[self._count % KEPT] = value
        self._count += 1

    def summary_ms(self) -> dict[str, float] | None:
        """None without any."""
        kept = self._values[: min(self._count, KEPT)] * 1e3
        if not len(kept):
            return None
        return dict(zip(("p50", "p99", "max"), np.percentile(kept, PERCENTILES).tolist(), strict=True))
