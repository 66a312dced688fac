"""Finds the highest rate at which the 99th percentile of the latency stays within a limit.

In:      a load test that takes a rate, a limit.
Out:     trials, as they end; the highest rate that held, and what stopped the search.
Refuses: nothing. A server that holds at no rate is an outcome.

The rate doubles until it fails, or halves until it holds; then the interval is halved until it is narrow. A trial
holds if at most 1 % of the requests that were due are late: a fault or no answer counts as late. A rate fails if two
trials in a row fail, as one may be disturbed by something else on the machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rlway_client.load.load_test import LATE_SHARE
from rlway_client.load.measured import Measured

FIRST_RATE = 100.0  # requests/s
NARROW = 1.05  # the search ends when the lowest rate that failed is this much above the highest that held
LEAST_REQUESTS = 10  # in a trial: no rate is tried at which fewer are due
ATTEMPTS = 2  # at one rate
TRIAL_LIMITS = 20  # a trial takes at least so many times the limit: a server that is 5 % too slow is then seen
BUSY = 0.95  # of a core: a load test that uses more may be the limit itself
LAG_SHARE = 0.25  # of the limit: a load test that is later than this for its own schedule is the limit


class Trial(NamedTuple):
    """One rate. `limited_by` says what was in the way, as far as the load test can tell."""

    rate: float
    measured: Measured
    holds: bool
    limited_by: str | None  # "generator" or "connections"


class Found(NamedTuple):
    """The outcome. `best` is None if no trial held; `stopped_by` is the first trial above it that failed."""

    best: Trial | None
    stopped_by: Trial | None
    trials: list[Trial]


Try = Callable[[float], Awaitable[Measured]]


async def search(try_rate: Try, limit_ms: float, least_rate: float, on_trial: Callable[[Trial], None]) -> Found:
    """Tries rates from FIRST_RATE on; `least_rate` is the lowest one to try."""
    trials: list[Trial] = []
    best: Trial | None = None
    stopped_by: Trial | None = None
    rate: float | None = max(FIRST_RATE, least_rate)
    while rate is not None:
        for _ in range(ATTEMPTS):
            trial = judge(rate, await try_rate(rate), limit_ms)
            trials.append(trial)
            on_trial(trial)
            if trial.holds:
                break
        if trial.holds:
            best = trial
        else:
            stopped_by = trial
        rate = _next_rate(best, stopped_by, least_rate)
    return Found(best, stopped_by, trials)


def judge(rate: float, measured: Measured, limit_ms: float) -> Trial:
    """Whether the trial holds; if not, what was in the way."""
    holds = measured.due > 0 and not measured.ended_early and measured.late <= LATE_SHARE * measured.due
    load = measured.load
    limited_by = None
    if not holds:
        if load.generator_cpu > BUSY or (load.lag_p99_ms or 0.0) > LAG_SHARE * limit_ms:
            limited_by = "generator"
        elif not load.errors and load.sent_ms["p99"] <= limit_ms:
            limited_by = "connections"
    return Trial(rate, measured, holds, limited_by)


def _next_rate(best: Trial | None, stopped_by: Trial | None, least_rate: float) -> float | None:
    if best is None:
        assert stopped_by is not None
        return max(stopped_by.rate / 2, least_rate) if stopped_by.rate > least_rate else None
    if stopped_by is None:
        return best.rate * 2
    return (best.rate + stopped_by.rate) / 2 if stopped_by.rate > best.rate * NARROW else None
