"""The histogram of latencies, held against HdrHistogram's own and against exact percentiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlway_client.common.histogram import BUCKETS, UNITS_PER_S, Histogram

HOUR_S = 3600.0


def recorded(latencies_s: list[float]) -> Histogram:
    histogram = Histogram()
    for latency_s in latencies_s:
        histogram.record(latency_s)
    return histogram


def test_it_agrees_with_hdrhistogram() -> None:
    """The same percentiles to the bit, from 0.1 µs to an hour, as the package with three significant digits."""
    hdrh = pytest.importorskip("hdrh.histogram")
    units = np.random.default_rng(0).uniform(0, np.log(HOUR_S * UNITS_PER_S), 20000)
    values = [int(value) for value in np.exp(units)]
    ours, theirs = Histogram(), hdrh.HdrHistogram(1, int(HOUR_S * UNITS_PER_S), 3)
    for value in values:
        ours.record((value + 0.5) / UNITS_PER_S)
        theirs.record_value(value)
    for percent in (0.1, 10, 50, 90, 99, 99.9, 99.99):
        assert round(ours.percentile_ms(percent) * UNITS_PER_S / 1e3) == theirs.get_value_at_percentile(percent)
    assert ours.total == theirs.get_total_count()


@pytest.mark.parametrize("scale_s", [2e-6, 3e-4, 0.02, 7.0])
def test_a_percentile_is_within_a_thousandth_of_the_exact_one(scale_s: float) -> None:
    """Three significant digits at every size, or a tenth of a microsecond."""
    latencies_s = np.random.default_rng(1).gamma(2.0, scale_s, 5000)
    histogram = recorded(latencies_s.tolist())
    for percent in (50, 90, 99, 99.9):
        exact_ms = float(np.sort(latencies_s)[math.ceil(len(latencies_s) * percent / 100 - 1e-9) - 1]) * 1e3
        assert histogram.percentile_ms(percent) == pytest.approx(exact_ms, rel=1 / 1000, abs=1e-4)
    assert histogram.max_ms == pytest.approx(latencies_s.max() * 1e3, abs=1e-4)


def test_latencies_beyond_an_hour_are_counted_as_one() -> None:
    """Memory does not grow with the latency."""
    histogram = recorded([1e9, HOUR_S, 0.0])
    assert histogram.max_ms == HOUR_S * 1e3
    assert histogram.total == 3
    assert len(histogram._counts) == BUCKETS


def test_without_latencies_there_is_nothing_to_see() -> None:
    """All requests failed: zeros in the summary, no point on the chart."""
    assert set(Histogram().summary_ms().values()) == {0.0}
    assert Histogram().points() == []


def test_the_points_run_from_all_to_the_longest() -> None:
    """One in 1 took at least the shortest latency, one in 4 the longest of four."""
    points = recorded([0.001, 0.002, 0.002, 0.008]).points()
    assert [point.one_in for point in points] == [1.0, 4 / 3, 4.0]
    assert [point.latency_ms for point in points] == pytest.approx([1.0, 2.0, 8.0], rel=1e-3)
