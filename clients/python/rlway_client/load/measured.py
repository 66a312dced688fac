"""What a load test measured.

In:      latencies and faults, as they come.
Out:     `Load`, the numbers for people and scripts; the histogram, for the chart.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from rlway_client.common.histogram import Histogram
from rlway_client.load.asker import Fault


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    protocol:       as `rlway bench --protocol` names it.
    connections:    how many there were; each carries one request at a time.
    rate:           requests/s that were due in an open loop; None in a closed loop.
    duration_s:     from the start to the last answer.
    offered_rps:    requests per second: those that were due in an open loop, those that were sent in a closed loop.
    achieved_rps:   successful answers per second.
    latency_ms:     percentiles of the successful answers, counted from when a request was due (open loop) or sent.
    sent_ms:        the same, counted from when a request was sent: without the wait for a connection.
    errors:         requests without a successful answer; `errors_by_kind` and `first_error` say more.
    generator_cpu:  the share of one core that the load test itself used.
    lag_p99_ms:     how late the load test itself was for its schedule; None in a closed loop.
    """

    protocol: str
    connections: int
    rate: float | None
    duration_s: float
    offered_rps: float
    achieved_rps: float
    latency_ms: dict[str, float]
    sent_ms: dict[str, float]
    errors: int
    errors_by_kind: dict[str, int]
    first_error: str | None
    generator_cpu: float
    lag_p99_ms: float | None


class Measured(NamedTuple):
    """A run, with the whole distribution.

    late:         how many of `due` requests failed, or took longer than allowed.
    ended_early:  too many were late, so the rest of the run was left out: its percentiles are those of the beginning.
    """

    load: Load
    latencies: Histogram
    late: int
    due: int
    ended_early: bool


class Faults:
    """Counts faults by kind, and keeps the first."""

    def __init__(self) -> None:
        self.by_kind: Counter[str] = Counter()
        self.first: Fault | None = None

    def add(self, fault: Fault, times: int = 1) -> None:
        self.by_kind[fault.kind] += times
        if self.first is None:
            self.first = fault

    @property
    def total(self) -> int:
        return self.by_kind.total()
