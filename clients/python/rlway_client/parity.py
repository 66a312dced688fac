"""Whether a file's answers are the SavedModel's.

In:      the answers of both over the same rows, and how far apart this kind of file may be.
Out:     `Parity`: the worst and the mean difference, changed actions, whether it passed and by what measure.
Refuses: nothing; the exporter and `rlway verify` refuse what did not pass.

A continuous policy is judged by its actions, as a share of their range; a discrete one by its Q-values, as a share of
the largest, and by the actions that came out differently.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from rlway_client.manifest import Parity
from rlway_client.specs import AnyArray, FloatArray, TensorSpec

Arrays = dict[str, AnyArray]  # by the name of the input or output, first dimension B


class Runner(Protocol):
    """An exported file that can be run."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """In how many rows at once it is worth comparing."""

    def run(self, inputs: Arrays) -> Arrays: ...


class Tolerance(NamedTuple):
    """How far a kind of file may be from the SavedModel.

    relative:  the largest difference, as a share of the action's range or of the largest |q|.
    flips:     the largest share of discrete actions that may change; None: only those whose two best Q-values are
               closer than the largest difference allowed.
    """

    relative: float
    flips: float | None = None


class Limit(NamedTuple):
    """A tolerance, in the numbers of one policy."""

    difference: float
    flips: float | None
    words: str


def limit_for(action: TensorSpec, tolerance: Tolerance, expected: Arrays) -> Limit:
    """What the tolerance comes to for a policy with these answers."""
    share = f"{tolerance.relative:g}"
    if not action.is_discrete:
        low, high = action.bounds()
        scale = float(np.max(high - low))
        if not np.isfinite(scale):  # unbounded: judged by the actions that there are
            scale = max(1.0, float(np.abs(expected["action"]).max()))
        return Limit(tolerance.relative * scale, None, f"|Δaction| ≤ {share} of the action's range ({scale:g})")
    allowed = tolerance.relative * max(1.0, float(np.abs(expected["q_values"]).max()))
    words = f"|Δq| ≤ {allowed:.1e} ({share} of the largest |q|), "
    if tolerance.flips is None:
        return Limit(allowed, None, words + "no flip unless the best two are closer than that")
    return Limit(allowed, tolerance.flips, words + f"at most {tolerance.flips:.0%} of the actions changed")


def compare(
    file: str, runner: Runner, action: TensorSpec, limit: Limit, inputs: Arrays, expected: Arrays
) -> list[Parity]:
    """One `Parity` per batch size of the runner."""
    return [
        _judge(file, batch, action, limit, inputs["noise"], expected, _run_in_batches(runner, inputs, batch))
        for batch in runner.batch_sizes
    ]


def summarize(details: list[Parity]) -> Parity:
    """The worst over a file's batch sizes."""
    gaps = [p.smallest_flip_gap for p in details if p.smallest_flip_gap is not None]
    return Parity(
        file=details[0].file,
        observations=details[0].observations,
        batch_sizes=[batch for p in details for batch in p.batch_sizes],
        max_difference=max(p.max_difference for p in details),
        mean_difference=max(p.mean_difference for p in details),
        argmax_flips=max(p.argmax_flips for p in details),
        smallest_flip_gap=min(gaps) if gaps else None,
        passed=all(p.passed for p in details),
        threshold=details[0].threshold,
        allowed_difference=details[0].allowed_difference,
        allowed_flips=details[0].allowed_flips,
    )


def spread(rows: AnyArray, most: int) -> AnyArray:
    """At most so many of them, evenly over the whole recording."""
    if len(rows) <= most:
        return rows
    chosen: AnyArray = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    return chosen


def _run_in_batches(runner: Runner, inputs: Arrays, batch: int) -> Arrays:
    rows = len(inputs["noise"])
    parts: list[Arrays] = []
    for start in range(0, rows, batch):
        part = runner.run({name: value[start : start + batch] for name, value in inputs.items()})
        parts.append({name: np.array(value) for name, value in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judge(
    file: str, batch: int, action: TensorSpec, limit: Limit, noise: FloatArray, expected: Arrays, found: Arrays
) -> Parity:
    compared = "q_values" if action.is_discrete else "action"
    difference = np.abs(expected[compared].astype(np.float64) - found[compared])
    gaps: AnyArray = np.zeros(0)  # between the two best, where another action came out
    if action.is_discrete:
        flipped = np.flatnonzero(expected["action"] != found["action"])
        scores = np.sort((expected["q_values"] + noise)[flipped], axis=-1)
        gaps = scores[:, -1] - scores[:, -2] if len(flipped) else gaps
    few = (gaps < limit.difference).all() if limit.flips is None else len(gaps) <= limit.flips * len(noise)
    return Parity(
        file=file,
        observations=len(noise),
        batch_sizes=[batch],
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        argmax_flips=len(gaps),
        smallest_flip_gap=float(gaps.min()) if len(gaps) else None,
        passed=bool(difference.max() <= limit.difference and few),  # false for NaN, too
        threshold=limit.words,
        allowed_difference=limit.difference,
        allowed_flips=limit.flips,
    )
