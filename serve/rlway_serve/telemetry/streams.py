"""Metrics of WebSockets: open connections and received frames.

In:      counts by policy, which the connections update.
Out:     metric families, built only when `/metrics` is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


class StreamCounts:
    """The counts of one process; a Prometheus collector."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()  # by policy
        self.frames: Counter[tuple[str, str]] = Counter()  # by policy and kind

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        streams = GaugeMetricFamily("rlway_streams", "WebSocket connections", labels=["policy"])
        frames = CounterMetricFamily("rlway_stream_frames", "Frames received on them", labels=["policy", "kind"])
        for policy, count in self.open.items():
            streams.add_metric([policy], count)
        for labels, count in self.frames.items():
            frames.add_metric([*labels], count)
        yield from (streams, frames)
