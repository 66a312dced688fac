"""Compares the outputs of a file with those of the SavedModel.

In:      the outputs of both for the same rows, and how far apart this kind of file may be.
Out:     `Parity`: the largest and the mean difference, changed actions, whether it passed and by what measure.
Refuses: nothing; the exporter and `rlway verify` refuse a file that did not pass.

A continuous policy is judged by its actions, each difference as a share of the action's own range. A discrete policy is
judged by its Q-values, as a share of the largest, and by how many actions differ; without Q-values, by its actions
alone. The policy state is judged as a share of its largest number. Every other output has to be finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Parity
from rlway_client.contract.specs import AnyArray, TensorSpec

Arrays = dict[str, AnyArray]  # by the name of the input or output, first dimension B


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


def limit_for(interface: Interface, tolerance: Tolerance, expected: Arrays) -> Limit:
    """The tolerance in absolute numbers, for a policy with these outputs."""
    limit = _limit_of_actions(interface, tolerance, expected)
    if not interface.state:
        return limit
    largest = max(float(np.abs(expected[spec.name]).max()) for spec in interface.next_state)
    allowed = tolerance.relative * max(1.0, largest)
    return limit._replace(words=f"{limit.words}; |Δstate| ≤ {allowed:.1e}", state=allowed)


def _limit_of_actions(interface: Interface, tolerance: Tolerance, expected: Arrays) -> Limit:
    share = f"{tolerance.relative:g}"
    if not interface.is_discrete:
        widest = float(_ranges(interface.actions[0], expected).max())
        return Limit(tolerance.relative * widest, None, f"|Δaction| ≤ {share} of its range (the widest: {widest:g})")
    changed = f"at most {tolerance.flips:.0%} of the actions changed" if tolerance.flips else "no action changed"
    if not interface.judged:
        return Limit(0.0, tolerance.flips or 0.0, changed)
    allowed = tolerance.relative * max(1.0, float(np.abs(expected[interface.judged[0]]).max()))
    words = f"|Δq| ≤ {allowed:.1e} ({share} of the largest |q|), "
    if tolerance.flips is None:
        return Limit(allowed, None, words + "no flip unless the best two are closer than that")
    return Limit(allowed, tolerance.flips, words + changed)


def _ranges(action: TensorSpec, expected: Arrays) -> AnyArray:  # -> the action's shape
    """The distance between an action's bounds; without bounds, its largest value."""
    low, high = action.bounds()
    largest = max(1.0, float(np.abs(expected[action.name]).max()))
    return np.where(np.isfinite(high - low), high - low, largest)


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
    )


def spread(rows: AnyArray, most: int) -> AnyArray:
    """At most `most` rows, evenly spaced over all of them."""
    if len(rows) <= most:
        return rows
    chosen: AnyArray = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    return chosen


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
    difference = _difference(expected, found, interface.judged)
    if not interface.is_discrete:
        ranges = _ranges(interface.actions[0], expected)
        difference = (difference.reshape(-1, *ranges.shape) * (ranges.max() / ranges)).ravel()  # scaled to the widest
    state = _difference(expected, found, [spec.name for spec in interface.next_state]) if interface.state else None
    flips = np.flatnonzero(_flipped(interface.actions[0], expected, found))
    gaps: AnyArray = np.zeros(0)  # between the two best Q-values, for rows with another action
    if interface.judged and len(flips):
        noise = inputs["noise"] if interface.noise else 0.0
        scores = np.sort((expected[interface.judged[0]] + noise)[flips], axis=-1)
        gaps = scores[:, -1] - scores[:, -2]
    few = (gaps < limit.difference).all() if limit.flips is None else len(flips) <= limit.flips * rows
    near = difference.max() <= limit.difference  # false for NaN, too
    state_near = state is None or limit.state is None or state.max() <= limit.state
    return Parity(
        file=file,
        observations=rows,
        batch_sizes=[batch],
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        state_difference=None if state is None else float(state.max()),
        argmax_flips=len(flips),
        smallest_flip_gap=float(gaps.min()) if len(gaps) else None,
        passed=bool(near and few and state_near and _all_finite(interface, found)),
        threshold=limit.words,
        allowed_difference=limit.difference,
        allowed_flips=limit.flips,
        allowed_state_difference=limit.state,
    )


def _difference(expected: Arrays, found: Arrays, names: list[str]) -> AnyArray:
    """The absolute difference of every element of these outputs, as one array; one zero without outputs."""
    parts = [np.abs(expected[name].astype(np.float64) - found[name]).ravel() for name in names]
    return np.concatenate(parts) if parts else np.zeros(1)


def _all_finite(interface: Interface, found: Arrays) -> bool:
    return all(np.isfinite(found[spec.name]).all() for spec in interface.outputs if found[spec.name].dtype.kind == "f")


def _flipped(action: TensorSpec, expected: Arrays, found: Arrays) -> AnyArray:  # -> [rows]
    """Which rows got another discrete action."""
    if not action.is_discrete:
        return np.zeros(0, np.bool_)
    changed = np.asarray(expected["action"] != found["action"])
    return np.asarray(changed.reshape(len(changed), -1).any(axis=1))
