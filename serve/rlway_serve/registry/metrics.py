"""The repository's metrics: swaps, failed loads, loaded and active versions.

In:      the policies of a repository.
Out:     metric families, built only when `/metrics` is read. Each can be summed over processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rlway_serve.registry.served_policy import ServedPolicy


class RepositoryMetrics:
    """A Prometheus collector."""

    def __init__(self, policies: Iterable[ServedPolicy]) -> None:
        self._policies = policies

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        swaps = CounterMetricFamily("rlway_swaps", "Versions that took over from another", labels=["policy"])
        failures = CounterMetricFamily(
            "rlway_load_failures", "Versions that could not be loaded, by reason", labels=["policy", "reason"]
        )
        loaded = GaugeMetricFamily("rlway_versions_loaded", "Versions that can be asked for", labels=["policy"])
        active = GaugeMetricFamily(
            "rlway_version_acting", "1 for the version that acts unless asked otherwise", labels=["policy", "version"]
        )
        for policy in self._policies:
            swaps.add_metric([policy.name], policy.swaps)
            loaded.add_metric([policy.name], len(policy.loaded))
            if policy.ready:
                active.add_metric([policy.name, str(policy.version)], 1)
            for reason, count in policy.load_failures.items():
                failures.add_metric([policy.name, reason], count)
        yield from (swaps, failures, loaded, active)
