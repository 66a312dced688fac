"""The search for the highest rate within a limit, over servers whose capacity is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rlway_client.common.histogram import Histogram
from rlway_client.load.measured import Load, Measured
from rlway_client.load.report import conclusion
from rlway_client.load.search import Found, Trial, search

LIMIT_MS = 10.0
DUE = 1000


def measured(rate: float, late: int, *, sent_ms: float = 50.0, cpu: float = 0.3, lag_ms: float = 0.1) -> Measured:
    """A run in which so many of 1,000 requests were late."""
    latency = dict.fromkeys(("p50", "p90", "p99", "p999", "max"), 5.0 if late <= DUE / 100 else 50.0)
    load = Load(
        protocol="native",
        connections=4,
        rate=rate,
        duration_s=1.0,
        offered_rps=rate,
        achieved_rps=rate,
        latency_ms=latency,
        sent_ms=dict.fromkeys(latency, sent_ms),
        errors=0,
        errors_by_kind={},
        first_error=None,
        generator_cpu=cpu,
        lag_p99_ms=lag_ms,
    )
    return Measured(load, Histogram(), late, DUE, False)


def find(outcome: Callable[[float], Measured], least_rate: float = 2.0) -> Found:
    shown: list[Trial] = []

    async def attempt(rate: float) -> Measured:
        return outcome(rate)

    found = asyncio.run(search(attempt, LIMIT_MS, least_rate, shown.append))
    assert shown == found.trials
    return found


@pytest.mark.parametrize("capacity", [3.0, 99.0, 100.0, 101.0, 777.0, 123_456.0])
def test_the_rate_is_found_within_five_percent(capacity: float) -> None:
    """Upwards and downwards from the first rate, in a few trials."""
    found = find(lambda rate: measured(rate, 0 if rate <= capacity else 500))
    assert found.best is not None
    assert found.stopped_by is not None
    assert capacity / 1.05 <= found.best.rate <= capacity < found.stopped_by.rate
    assert len(found.trials) < 30
    assert "is the highest rate found" in conclusion(found, LIMIT_MS)


def test_one_percent_may_be_late() -> None:
    """That is what the 99th percentile means; one more is too many."""
    found = find(lambda rate: measured(rate, 10 if rate <= 400 else 11))
    assert found.best is not None
    assert found.best.rate == 400


def test_a_server_that_holds_at_no_rate_is_said_to() -> None:
    """Down to the least rate, and no further."""
    found = find(lambda rate: measured(rate, 500), least_rate=20.0)
    assert found.best is None
    assert min(trial.rate for trial in found.trials) == 20.0
    assert conclusion(found, LIMIT_MS).startswith("at no rate 99 % of the requests were answered within 10 ms")
    assert "20 requests/s" in conclusion(found, LIMIT_MS)


def test_one_disturbed_trial_does_not_end_the_search() -> None:
    """A rate that fails is tried again, and holds if it then does."""
    tried: list[float] = []

    def disturbed(rate: float) -> Measured:
        tried.append(rate)
        return measured(rate, 500 if rate > 3000 or tried.count(rate) == 1 else 0)

    found = find(disturbed)
    assert found.best is not None
    assert 3000 / 1.05 <= found.best.rate <= 3000


@pytest.mark.parametrize(
    ("busy", "limited_by", "words"),
    [
        ({"cpu": 0.99}, "generator", "the load test itself was the limit"),
        ({"lag_ms": 4.0}, "generator", "4.00 ms late"),
        ({"sent_ms": 6.0}, "connections", "more --connections may hold more"),
        ({}, None, "is within 10 ms"),
    ],
)
def test_the_outcome_says_what_was_in_the_way(busy: dict[str, float], limited_by: str | None, words: str) -> None:
    """The load test itself, too few connections, or the server."""
    found = find(lambda rate: measured(rate, 0) if rate <= 1000 else measured(rate, 500, **busy))
    assert found.stopped_by is not None
    assert found.stopped_by.limited_by == limited_by
    assert words in conclusion(found, LIMIT_MS)
