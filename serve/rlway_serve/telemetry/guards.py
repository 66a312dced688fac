"""Metrics of guards: how many actions violated a rule.

In:      counts by policy, action tensor and rule, from any thread.
Out:     a metric family, built only when `/metrics` is read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily


class GuardCounts:
    """The counts of one process; a Prometheus collector."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()  # by policy, action and rule
        self._lock = threading.Lock()  # each policy may run on a thread of its own

    def add(self, policy: str, action: str, rule: str, rows: int) -> None:
        """Counts the rows whose action violates the rule."""
        with self._lock:
            self._counts[policy, action, rule] += rows

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        labels = ["policy", "action", "rule"]
        family = CounterMetricFamily(
            "rlway_guarded_actions", "Actions that violated a rule of the guard", labels=labels
        )
        with self._lock:
            counts = [*self._counts.items()]
        for labelled, count in counts:
            family.add_metric([*labelled], count)
        yield family
