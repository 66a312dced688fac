"""What a server counts, for Prometheus.

In:      batches as they are answered, refusals as they happen: plain integers on the event loop, no locks.
Out:     metric families, built only when `/metrics` is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from rlway_client.errors import RlwayError
from rlway_serve.call import Call
from rlway_serve.response import Response

LATENCY_S = (50e-6, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0)
BATCH_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Buckets:
    """A histogram: counts below each edge, and the sum."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus's form: how many values were at most each edge."""
        rows: list[tuple[str, float]] = []
        seen = 0
        for edge, count in zip((*map(str, self.edges), "+Inf"), self.counts, strict=True):
            seen += count
            rows.append((edge, seen))
        return rows


class PolicyMetrics:
    """The counts of one policy's version."""

    def __init__(self, policy: str, version: int) -> None:
        self.labels = [policy, str(version)]
        self.requests: Counter[int] = Counter()  # by status
        self.refusals: Counter[str] = Counter()  # by the error's name
        self.actions = 0
        self.latency_s = Buckets(LATENCY_S)
        self.batch_rows = Buckets(BATCH_ROWS)

    def count_batch(self, batch: list[Call], responses: list[Response], now_s: float) -> None:
        """One run and all its calls; a call's latency goes from its decoding to its answer."""
        rows, actions, answered, total = 0, 0, 0, 0.0
        counts = self.latency_s.counts
        for call, response in zip(batch, responses, strict=True):
            rows += call.rows
            latency_s = now_s - call.arrived_s
            total += latency_s
            counts[bisect_left(LATENCY_S, latency_s)] += 1
            if response.status == 200:
                answered += 1
                actions += call.rows
            else:
                self.requests[response.status] += 1
        self.requests[200] += answered
        self.actions += actions
        self.latency_s.total += total
        self.batch_rows.counts[bisect_left(BATCH_ROWS, rows)] += 1
        self.batch_rows.total += rows

    def count_refusal(self, error: RlwayError) -> None:
        """A request that never ran."""
        self.requests[error.http] += 1
        self.refusals[type(error).__name__] += 1


class Metrics:
    """All policies' counts as one Prometheus collector."""

    def __init__(self) -> None:
        # A version's counts are shown as long as it is loaded or answers its last requests.
        self._policies: WeakValueDictionary[tuple[str, int], PolicyMetrics] = WeakValueDictionary()
        self._queues: WeakKeyDictionary[Any, list[str]] = WeakKeyDictionary()
        self._others: list[Any] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, policy: str, version: int) -> PolicyMetrics:
        """The counts of a version that is about to be served; the same ones as long as they are in use."""
        return self._policies.setdefault((policy, version), PolicyMetrics(policy, version))

    def watch_queue(self, metrics: PolicyMetrics, batcher: Any) -> None:
        """Reports `batcher.queued_rows` under the policy's labels."""
        self._queues[batcher] = metrics.labels

    def watch(self, collector: Any) -> None:
        """Shows what another collector has, too."""
        self._others.append(collector)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """Called by the registry at each scrape."""
        names = ["policy", "version"]
        requests = CounterMetricFamily("rlway_requests", "Act requests by status", labels=[*names, "status"])
        refusals = CounterMetricFamily(
            "rlway_refusals", "Requests that never ran, by reason", labels=[*names, "reason"]
        )
        actions = CounterMetricFamily("rlway_actions", "Actions computed", labels=names)
        latency = HistogramMetricFamily("rlway_request_seconds", "From decoding to answer", labels=names)
        batch = HistogramMetricFamily("rlway_batch_rows", "Observations per run", labels=names)
        queue = GaugeMetricFamily("rlway_queue_rows", "Observations waiting", labels=names)
        for policy in [known for ref in self._policies.valuerefs() if (known := ref()) is not None]:
            for status, count in policy.requests.items():
                requests.add_metric([*policy.labels, str(status)], count)
            for reason, count in policy.refusals.items():
                refusals.add_metric([*policy.labels, reason], count)
            actions.add_metric(policy.labels, policy.actions)
            latency.add_metric(policy.labels, policy.latency_s.cumulative(), policy.latency_s.total)
            batch.add_metric(policy.labels, policy.batch_rows.cumulative(), policy.batch_rows.total)
        waiting: Counter[tuple[str, ...]] = Counter()  # a version loaded anew may have two queues for a moment
        for ref in self._queues.keyrefs():
            if (batcher := ref()) is not None:
                waiting[tuple(self._queues[batcher])] += batcher.queued_rows
        for labels, rows in waiting.items():
            queue.add_metric(labels, rows)
        yield from (requests, refusals, actions, latency, batch, queue)
        for other in self._others:
            yield from other.collect()
