"""Counts latencies in the buckets of HdrHistogram: three significant digits, in memory that does not grow.

In:      latencies in seconds, from 0.1 µs to an hour.
Out:     percentiles in milliseconds; the points of HdrHistogram's percentile plot.
Refuses: nothing. A latency beyond an hour counts as one hour.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
UNITS_PER_S = 10_000_000  # a latency is a whole number of 0.1 µs
UNITS_PER_MS = UNITS_PER_S / 1e3
LONGEST = 3600 * UNITS_PER_S
# 2,048 buckets of one unit, then 1,024 for each further power of two: a bucket is at most 1/1024 of its value wide.
DIGITS = 11
HALF = 1 << (DIGITS - 1)
BUCKETS = ((LONGEST.bit_length() - DIGITS + 2) << (DIGITS - 1)) + 1


class Point(NamedTuple):
    """One latency in `one_in` was at least `latency_ms`."""

    one_in: float
    latency_ms: float


class Histogram:
    """Latencies of one run."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._longest = 0

    def record(self, latency_s: float) -> None:
        units = int(latency_s * UNITS_PER_S)
        if units > self._longest:
            self._longest = units = min(units, LONGEST)
        # A place as HdrHistogram computes it; here in one line, because it is computed for each answer.
        shift = units.bit_length() - DIGITS
        self._counts[units if shift <= 0 else (shift << (DIGITS - 1)) + (units >> shift)] += 1

    @property
    def total(self) -> int:
        return sum(self._counts)

    @property
    def max_ms(self) -> float:
        return self._longest / UNITS_PER_MS

    def percentile_ms(self, percent: float) -> float:
        """The smallest latency that at least so many percent do not exceed; 0 without any."""
        ends = np.cumsum(self._counts)
        total = int(ends[-1])
        if not total:
            return 0.0
        rank = max(1, math.ceil(total * percent / 100 - 1e-9))
        return min(_highest(int(np.searchsorted(ends, rank))), self._longest) / UNITS_PER_MS

    def summary_ms(self) -> dict[str, float]:
        """The percentiles by name, and the longest latency."""
        return {name: self.percentile_ms(percent) for name, percent in PERCENTILES.items()} | {"max": self.max_ms}

    def points(self) -> list[Point]:
        """The distribution, from the shortest latency (one in 1) to the longest (one in all)."""
        counts = np.array(self._counts)
        places = np.flatnonzero(counts)
        total = int(counts.sum())
        before = np.cumsum(counts) - counts
        return [
            Point(total / (total - int(before[place])), min(_highest(int(place)), self._longest) / UNITS_PER_MS)
            for place in places
        ]


def _highest(place: int) -> int:
    """The highest number of units that is counted at this place."""
    shift = max(0, (place >> (DIGITS - 1)) - 1)
    return ((place - (shift << (DIGITS - 1)) + 1) << shift) - 1
