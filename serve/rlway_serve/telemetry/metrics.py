"""The counters and histograms of a server, for Prometheus.

In:      batches as they are answered, refusals as they happen; on the event loop, without locks.
Out:     metric families, built only when `/metrics` is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import FloatArray, IntArray
from rlway_serve.messages.call import AnyCall
from rlway_serve.messages.response import Response
from rlway_serve.telemetry.drift import Drifts
from rlway_serve.telemetry.guards import GuardCounts

SECONDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0)
CALLS_AT_ONCE = 1024  # collected before they are added to the histograms
BATCH_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Histogram:
    """Counts by bucket, and the sum of the values."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self._edges = np.array(edges)
        self._counts: IntArray = np.zeros(len(edges) + 1, np.int64)
        self.total = 0.0

    def add(self, values: FloatArray) -> None:
        """Counts each of these values."""
        self._counts += np.bincount(self._edges.searchsorted(values), minlength=len(self._counts))
        self.total += float(values.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """The number of values up to each edge, as Prometheus expects it."""
        rows: list[tuple[str, float]] = []
        seen = 0
        for edge, count in zip((*map(str, self.edges), "+Inf"), self._counts.tolist(), strict=True):
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
        self.request_s = Histogram(SECONDS)
        self.queue_s = Histogram(SECONDS)
        self.compute_s = Histogram(SECONDS)
        self.batch_rows = Histogram(BATCH_ROWS)
        self.by_rows: dict[int, tuple[int, float]] = {}  # by a run's rows: how many runs, and their seconds in all
        self.last_run_s = 0.0  # when the last run ended, of `time.perf_counter()`
        self._runs: list[float] = []  # begin, end, calls and rows of each run that is not in the histograms yet
        self._arrivals_s: list[float] = []  # of the calls of these runs

    def count_batch(self, batch: Sequence[AnyCall], rows: int, began_s: float, now_s: float) -> None:
        """Counts a run and all its calls as answered with an action. The run began at `began_s` and ended at `now_s`.

        `count_failed` corrects this for calls that were not.
        """
        calls = len(batch)
        self._runs += (began_s, now_s, calls, rows)
        self._arrivals_s += [call.arrived_s for call in batch]
        if len(self._arrivals_s) >= CALLS_AT_ONCE:
            self.update_histograms()
        self.requests[200] += calls
        self.actions += rows

    def count_failed(self, batch: Sequence[AnyCall], responses: Sequence[Response]) -> None:
        """Corrects `count_batch` for calls that were answered with an error."""
        if not [response for response in responses if response.status != 200]:
            return
        for call, response in zip(batch, responses, strict=True):
            if response.status != 200:
                self.requests[200] -= 1
                self.requests[response.status] += 1
                self.actions -= call.rows

    def update_histograms(self) -> None:
        """Adds the collected runs to the histograms; many calls at once take little longer than one."""
        if not self._runs:
            return
        began_s, now_s, calls, rows = np.fromiter(self._runs, float).reshape(-1, 4).T
        arrivals_s = np.fromiter(self._arrivals_s, float)
        self._runs.clear()
        self._arrivals_s.clear()
        times = calls.astype(np.intp)
        self.queue_s.add(began_s.repeat(times) - arrivals_s)
        self.request_s.add(now_s.repeat(times) - arrivals_s)
        self.compute_s.add(now_s - began_s)
        self.batch_rows.add(rows)
        self.last_run_s = float(now_s[-1])
        sizes, places = np.unique(rows, return_inverse=True)
        runs, seconds = np.bincount(places).tolist(), np.bincount(places, now_s - began_s).tolist()
        for size, count, taken_s in zip(map(int, sizes), runs, seconds, strict=True):
            counted, before_s = self.by_rows.get(size, (0, 0.0))
            self.by_rows[size] = counted + count, before_s + taken_s

    def count_refusal(self, error: RlwayError, requests: int = 1) -> None:
        """Counts requests that never ran."""
        if requests:
            self.requests[error.http] += requests
            self.refusals[type(error).__name__] += requests


class Metrics:
    """All policies' counts as one Prometheus collector."""

    def __init__(self, counts: type[PolicyMetrics] = PolicyMetrics) -> None:
        self._counts = counts  # the class that counts for one version
        # Weak: a version's counts are shown until it is unloaded and has answered its last requests.
        self._policies: WeakValueDictionary[tuple[str, int], PolicyMetrics] = WeakValueDictionary()
        self._queues: WeakKeyDictionary[Any, list[str]] = WeakKeyDictionary()
        self.drifts = Drifts()
        self.guards = GuardCounts()
        self._others: list[Any] = [self.drifts, self.guards]
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, policy: str, version: int) -> PolicyMetrics:
        """The counts of a version that is about to be served; those in use already, if there are any."""
        return self._policies.setdefault((policy, version), self._counts(policy, version))

    def watch_queue(self, metrics: PolicyMetrics, batcher: Any) -> None:
        """Reports `batcher.queued_rows` under the policy's labels."""
        self._queues[batcher] = metrics.labels

    def watch(self, collector: Any) -> None:
        """Adds the families of another collector."""
        self._others.append(collector)

    def text(self) -> bytes:
        """All families in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """Called by the registry at each scrape."""
        names = ["policy", "version"]
        requests = CounterMetricFamily("rlway_requests", "Act requests by status", labels=[*names, "status"])
        refusals = CounterMetricFamily(
            "rlway_refusals", "Requests that never ran, by reason", labels=[*names, "reason"]
        )
        actions = CounterMetricFamily("rlway_actions", "Actions computed", labels=names)
        times = {
            "request_s": HistogramMetricFamily("rlway_request_seconds", "From arrival to answer", labels=names),
            "queue_s": HistogramMetricFamily("rlway_queue_seconds", "From arrival to the run", labels=names),
            "compute_s": HistogramMetricFamily("rlway_compute_seconds", "Of a run, for all its rows", labels=names),
        }
        batch = HistogramMetricFamily("rlway_batch_rows", "Observations per run", labels=names)
        queue = GaugeMetricFamily("rlway_queue_rows", "Observations waiting", labels=names)
        for policy in [known for ref in self._policies.valuerefs() if (known := ref()) is not None]:
            policy.update_histograms()
            for status, count in policy.requests.items():
                requests.add_metric([*policy.labels, str(status)], count)
            for reason, count in policy.refusals.items():
                refusals.add_metric([*policy.labels, reason], count)
            actions.add_metric(policy.labels, policy.actions)
            for field, family in times.items():
                histogram: Histogram = getattr(policy, field)
                family.add_metric(policy.labels, histogram.cumulative(), histogram.total)
            batch.add_metric(policy.labels, policy.batch_rows.cumulative(), policy.batch_rows.total)
        waiting: Counter[tuple[str, ...]] = Counter()  # a version that is loaded again has two queues for a moment
        for ref in self._queues.keyrefs():
            if (batcher := ref()) is not None:
                waiting[tuple(self._queues[batcher])] += batcher.queued_rows
        for labels, rows in waiting.items():
            queue.add_metric(labels, rows)
        yield from (requests, refusals, actions, *times.values(), batch, queue)
        for other in self._others:
            yield from other.collect()
