"""What a load test says of its runs: lines for people, and JSON for scripts.

In:      `Measured`, trials of a search, runs over the number of robots.
Out:     text; plain values whose keys stay as they are.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rlway_client.common.histogram import Histogram
from rlway_client.load.measured import Load, Measured
from rlway_client.load.search import BUSY, Found, Trial

MOST_CURVES = 8  # in a chart
ROBOTS_HEAD = (
    f"{'robots':>7} {'actions/s':>11} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'p999 ms':>9} {'max ms':>9} errors"
)
WAITED = 2.0  # times the p99 from when requests were sent: above that, the wait before it is remarked on
TRIALS_HEAD = f"{'rate/s':>9} {'actions/s':>11} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9} {'errors':>7}  p99 holds"


def describe(measured: Measured) -> list[str]:
    """One run, in a line, and what else there is to know of it."""
    load = measured.load
    latency = "  ".join(f"{name} {ms:.2f}" for name, ms in load.latency_ms.items())
    asked = "" if load.rate is None else f" of {load.offered_rps:,.0f} requests/s that were due"
    connections = count(load.connections, "connection")
    line = (
        f"{load.achieved_rps:,.0f} actions/s{asked} over {connections} in {load.duration_s:.1f} s, "
        f"{count(load.errors, 'error')}; latency ms: {latency}"
    )
    ended = ["ended early: the load test itself was a second late for this rate"] if measured.ended_early else []
    return [line, *ended, *remarks(load)]


def remarks(load: Load) -> list[str]:
    """Errors by kind with the first one, and a load test that was busy itself."""
    lines = []
    if load.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in load.errors_by_kind.items())
        lines.append(f"errors: {kinds}; the first: {load.first_error}")
    if load.rate is not None and load.latency_ms["p99"] > WAITED * load.sent_ms["p99"]:
        lines.append(
            f"requests waited for a free connection: the p99 is {load.sent_ms['p99']:.2f} ms from when they were sent; "
            "more --connections may help"
        )
    if load.generator_cpu > BUSY:
        lines.append(f"the load test itself used {load.generator_cpu:.0%} of a core: the server may be able to do more")
    return lines


def robots_row(load: Load) -> str:
    """One line of the table over the number of robots."""
    values = " ".join(f"{ms:>9.2f}" for ms in load.latency_ms.values())
    return f"{load.connections:>7} {load.achieved_rps:>11,.0f} {values} {load.errors:>6}"


def trial_row(trial: Trial) -> str:
    """One line of the table of trials."""
    load = trial.measured.load
    p50, p99, longest = (load.latency_ms[name] for name in ("p50", "p99", "max"))
    held = "yes" if trial.holds else "no"
    cause: dict[str | None, str] = {
        "generator": " (the load test itself is the limit)",
        "connections": " (all connections are busy)",
    }
    rates = f"{rate_text(trial.rate):>9} {load.achieved_rps:>11,.0f}"
    return f"{rates} {p50:>9.2f} {p99:>9.2f} {longest:>9.2f} {load.errors:>7}  {held}{cause.get(trial.limited_by, '')}"


def conclusion(found: Found, slo_ms: float) -> str:
    """The outcome of a search, in a sentence."""
    best, stop = found.best, found.stopped_by
    if best is None:
        least = found.trials[-1]
        first = least.measured.load.first_error
        why = f"; the first error: {first}" if first else ""
        if least.limited_by == "generator":
            why += "; the load test itself was the limit, so the server may hold it"
        return (
            f"at no rate 99 % of the requests were answered within {slo_ms:g} ms, not even at {rate_text(least.rate)} "
            f"requests/s{why}"
        )
    p99_ms = best.measured.load.latency_ms["p99"]
    rate = rate_text(best.rate)
    said = f"{rate} requests/s is the highest rate found whose p99 ({p99_ms:.2f} ms) is within {slo_ms:g} ms"
    if stop is None or stop.limited_by is None:
        return said
    load = stop.measured.load
    if stop.limited_by == "generator":
        return (
            f"{said}; at {rate_text(stop.rate)} the load test itself was the limit ({load.generator_cpu:.0%} of a core,"
            f" {load.lag_p99_ms or 0:.2f} ms late), so the server may hold more"
        )
    return (
        f"{said}; at {rate_text(stop.rate)} all {load.connections} connections were busy while the server answered "
        f"within {slo_ms:g} ms, so more --connections may hold more"
    )


def as_values(measured: Measured) -> dict[str, Any]:
    """One run for JSON."""
    values: dict[str, Any] = msgspec.to_builtins(measured.load)
    return values


def search_values(found: Found, slo_ms: float) -> dict[str, Any]:
    """A search for JSON: the best trial's numbers, or the last one's if none held, and all trials."""
    best = found.best
    shown = best if best is not None else found.trials[-1]
    trials = [
        as_values(trial.measured)
        | {"holds": trial.holds, "limited_by": trial.limited_by, "ended_early": trial.measured.ended_early}
        for trial in found.trials
    ]
    summary = {"slo_ms": slo_ms, "highest_rate": None if best is None else best.rate, "trials": trials}
    return as_values(shown.measured) | summary


def curves(found: Found) -> dict[str, Histogram]:
    """The distributions of the highest rates that held, by label; those that failed if none held."""
    held = [trial for trial in found.trials if trial.holds] or found.trials
    shown = sorted(held, key=lambda trial: trial.rate)[-MOST_CURVES:]
    return {f"{rate_text(trial.rate)} requests/s": trial.measured.latencies for trial in shown}


def robots_values(runs: Sequence[Measured]) -> dict[str, Any]:
    """The runs over the number of robots for JSON: the last one's numbers, and a list of all."""
    return as_values(runs[-1]) | {"robots": [{"robots": run.load.connections} | as_values(run) for run in runs]}


def count(number: int, noun: str) -> str:
    """`1 robot`, `2 robots`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def rate_text(rate: float) -> str:
    """A rate as people read it."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
