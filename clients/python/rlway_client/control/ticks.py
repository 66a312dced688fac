"""What happened at the ticks of a control loop.

In:      each tick as it ends.
Out:     counts, and percentiles of times.
"""

from __future__ import annotations

from typing import Any

from rlway_client.common.histogram import Histogram


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
        self._ages = Histogram()
        self._late = Histogram()

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
            self._ages.record(age_s)

    def begun_late(self, late_s: float) -> None:
        """A tick began that much later than its rate says."""
        self._late.record(max(0.0, late_s))

    def report(self) -> dict[str, Any]:
        """All of it, for JSON: times are percentiles in milliseconds, 0 without any."""
        counts = ("total", "fresh", "late", "starved", "missed", "dropped", "failed", "fault")
        times = {"age_ms": self._ages.summary_ms(), "begun_late_ms": self._late.summary_ms()}
        return {name: getattr(self, name) for name in counts} | times
