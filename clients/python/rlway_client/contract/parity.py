"""Compares the outputs of a file with those of the SavedModel.

In:      the outputs of both for the same rows, and how far apart this kind of file may be.
Out:     `Parity`: the largest and the mean difference, changed actions, whether it passed and by what measure.
Refuses: nothing; the exporter and `rlway verify` refuse a file that did not pass.

A continuous action is judged by its values, each difference as a share of its own range. A discrete action is judged
by its scores (Q-values or logits), as a share of the largest, and by how many rows differ; without scores, by the rows
alone. What the policy tells of its action (`info_…`) and the policy state are judged as a share of their largest
number. Every other output has to be finite. With several outputs, all differences are given as if each had the widest
range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from rlway_client.contract.flips import find_flips
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Parity
from rlway_client.contract.output_ranges import OutputRanges
from rlway_client.contract.specs import AnyArray, IntArray

Arrays = dict[str, AnyArray]  # by the name of the input or output, first dimension B
UNCHANGED = "no action changed"


class Runner(Protocol):
    """An exported file that can be run."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes with which it is to be compared."""

    def run(self, inputs: Arrays) -> Arrays: ...


class Tolerance(NamedTuple):
    """How far the outputs of a kind of file may be from the SavedModel's.

    relative:  the largest difference, as a share of the action's range or of the largest |q|.
    flips:     the largest share of discrete actions that may change; None: only those whose two best Q-values are
               closer than the largest difference allowed, and none where the Q-values are not known.
    """

    relative: float
    flips: float | None = None


class Limit(NamedTuple):
    """A tolerance in absolute numbers, for one policy."""

    difference: float
    flips: float | None
    words: str
    state: float | None = None  # None for a policy without state
    largest: dict[str, float] = {}  # noqa: RUF012  # of several compared outputs without bounds, by name


def limit_for(interface: Interface, tolerance: Tolerance, expected: Arrays) -> Limit:
    """The tolerance in absolute numbers, for a policy with these outputs."""
    limit = _limit_of_outputs(interface, tolerance, expected)
    if not interface.state:
        return limit
    largest = max(float(np.abs(expected[spec.name]).max()) for spec in interface.next_state)
    allowed = tolerance.relative * max(1.0, largest)
    return limit._replace(words=f"{limit.words}; |Δstate| ≤ {allowed:.1e}", state=allowed)


def _limit_of_outputs(interface: Interface, tolerance: Tolerance, expected: Arrays) -> Limit:
    ranges = OutputRanges.of(interface, expected, {})
    allowed = tolerance.relative * ranges.widest
    words = [_words_of_difference(interface, tolerance.relative, ranges)]
    flips = None
    if interface.choices:
        has_scores = any(choice.scores for choice in interface.choices)
        flips = tolerance.flips if has_scores else tolerance.flips or 0.0
        near = "no flip unless the best two are closer than that"
        words.append(f"at most {flips:.0%} of the actions changed" if flips else near if flips is None else UNCHANGED)
    several = len(ranges.by_name) > 1
    return Limit(allowed, flips, ", ".join(filter(None, words)), largest=ranges.largest if several else {})


def _words_of_difference(interface: Interface, relative: float, ranges: OutputRanges) -> str:
    """How far apart the compared outputs may be; empty if there are none."""
    if len(ranges.by_name) > 1:
        return f"|Δ| ≤ {relative:g} of each output's range, or of its largest value (the widest: {ranges.widest:g})"
    if not ranges.by_name:
        return ""
    (name,) = ranges.by_name
    if name in [spec.name for spec in interface.actions]:
        return f"|Δaction| ≤ {relative:g} of its range (the widest: {ranges.widest:g})"
    kind = "q" if interface.judged else "info"
    return f"|Δ{kind}| ≤ {relative * ranges.widest:.1e} ({relative:g} of the largest |{kind}|)"


def compare(
    file: str, runner: Runner, interface: Interface, limit: Limit, inputs: Arrays, expected: Arrays
) -> list[Parity]:
    """Runs the file over all inputs [rows, …]: one `Parity` per batch size of the runner."""
    return [
        _judge(file, batch, interface, limit, inputs, expected, run_in_batches(runner.run, inputs, batch))
        for batch in runner.batch_sizes
    ]


def summarize(details: list[Parity]) -> Parity:
    """One `Parity` of a file, with the worst over its batch sizes."""
    gaps = [p.smallest_flip_gap for p in details if p.smallest_flip_gap is not None]
    return Parity(
        file=details[0].file,
        observations=details[0].observations,
        batch_sizes=[batch for p in details for batch in p.batch_sizes],
        max_difference=max(p.max_difference for p in details),
        mean_difference=max(p.mean_difference for p in details),
        state_difference=max((p.state_difference for p in details if p.state_difference is not None), default=None),
        argmax_flips=max(p.argmax_flips for p in details),
        smallest_flip_gap=min(gaps) if gaps else None,
        passed=all(p.passed for p in details),
        threshold=details[0].threshold,
        allowed_difference=details[0].allowed_difference,
        allowed_flips=details[0].allowed_flips,
        allowed_state_difference=details[0].allowed_state_difference,
        largest=details[0].largest,
    )


def spread(rows: AnyArray, most: int) -> AnyArray:
    """At most `most` rows, evenly spaced over all of them."""
    chosen: AnyArray = rows if len(rows) <= most else rows[spread_rows(len(rows), most)]
    return chosen


def spread_rows(n: int, most: int) -> IntArray:  # -> [min(n, most)]
    """The numbers of at most `most` rows, evenly spaced over `n`."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def rows_of(arrays: Arrays) -> int:
    """The number of rows, which is the same in every array."""
    return len(next(iter(arrays.values())))


def run_in_batches(run: Callable[[Arrays], Arrays], inputs: Arrays, batch: int) -> Arrays:
    """The outputs for all rows, run `batch` rows at a time."""
    parts: list[Arrays] = []
    for start in range(0, rows_of(inputs), batch):
        part = run({name: value[start : start + batch] for name, value in inputs.items()})
        parts.append({name: np.array(value) for name, value in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judge(
    file: str, batch: int, interface: Interface, limit: Limit, inputs: Arrays, expected: Arrays, found: Arrays
) -> Parity:
    rows = rows_of(expected)
    ranges = OutputRanges.of(interface, expected, limit.largest)
    flips = find_flips(interface, ranges, inputs, expected, found)
    difference = _scaled_difference(interface, ranges, expected, found, ~flips.changed)
    state = _difference(expected, found, [spec.name for spec in interface.next_state]) if interface.state else None
    few = (flips.gaps < limit.difference).all() if limit.flips is None else flips.rows <= limit.flips * rows
    near = difference.max() <= limit.difference  # false for NaN, too
    state_near = state is None or limit.state is None or state.max() <= limit.state
    return Parity(
        file=file,
        observations=rows,
        batch_sizes=[batch],
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        state_difference=None if state is None else float(state.max()),
        argmax_flips=flips.rows,
        smallest_flip_gap=flips.smallest_gap,
        passed=bool(near and few and state_near and _all_finite(interface, expected, found)),
        threshold=limit.words,
        allowed_difference=limit.difference,
        allowed_flips=limit.flips,
        allowed_state_difference=limit.state,
        largest=limit.largest,
    )


def _scaled_difference(
    interface: Interface, ranges: OutputRanges, expected: Arrays, found: Arrays, unchanged: AnyArray
) -> AnyArray:
    """The absolute difference of every compared element, as if its output had the widest range; one zero without any.

    What a policy tells of its action is compared only over the rows that are `unchanged`: of another action it tells
    something else.
    """
    parts = []
    for name in ranges.by_name:
        rows = unchanged if name in interface.info else slice(None)
        wanted, got = expected[name][rows].astype(np.float64), found[name][rows]
        with np.errstate(invalid="ignore"):  # infinite in both
            difference = np.abs(wanted - got)
        if name in interface.info:
            difference = np.where(_alike(wanted, got), 0.0, difference)
        parts.append((difference * ranges.scale(name)).ravel())
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return joined if joined.size else np.zeros(1)


def _difference(expected: Arrays, found: Arrays, names: list[str]) -> AnyArray:
    """The absolute difference of every element of these outputs, as one array; one zero without outputs."""
    parts = [np.abs(expected[name].astype(np.float64) - found[name]).ravel() for name in names]
    return np.concatenate(parts) if parts else np.zeros(1)


def _all_finite(interface: Interface, expected: Arrays, found: Arrays) -> bool:
    """Whether every further output is finite; what the policy tells of its action may be as infinite as it was."""
    for spec in interface.outputs:
        got = found[spec.name]
        if got.dtype.kind == "f":
            sound = np.isfinite(got)
            if spec.name in interface.info:
                sound |= _alike(expected[spec.name], got)
            if not sound.all():
                return False
    return True


def _alike(expected: AnyArray, found: AnyArray) -> AnyArray:
    """Which elements are equal, or both NaN."""
    return np.asarray((expected == found) | ((expected != expected) & (found != found)))
