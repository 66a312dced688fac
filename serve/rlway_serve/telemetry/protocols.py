"""Metrics by protocol: requests that came by another protocol than the native one, and those of them that were refused.

A request that misses its deadline in the queue is not among the refused ones: the queue knows no protocols.

In:      counts by protocol and policy, which the endpoint updates.
Out:     metric families, built only when `/metrics` is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily


class ProtocolCounts:
    """The counts of one process; a Prometheus collector."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()  # by protocol and policy
        self.refused: Counter[tuple[str, str, str]] = Counter()  # likewise, and by the error's name

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        labels = ["protocol", "policy"]
        asked = CounterMetricFamily("rlway_protocol_requests", "Requests by further protocols", labels=labels)
        refused = CounterMetricFamily(
            "rlway_protocol_refusals",
            "Those of them refused before they were queued, by reason",
            labels=[*labels, "reason"],
        )
        for names, count in self.asked.items():
            asked.add_metric([*names], count)
        for reasons, count in self.refused.items():
            refused.add_metric([*reasons], count)
        yield from (asked, refused)
