"""Whether an exported file acts as the SavedModel does.

In:      the SavedModel, a file's runner, observations that the trained policy visited.
Out:     `Parity` per file and batch size.
Refuses: nothing; the bundle writer refuses what did not pass.

Half of the rows are greedy (zero noise), half carry noise, so that sampled actions are compared too.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rlway_client.exploration import Explore, draw_noise
from rlway_client.manifest import Parity
from rlway_client.run import Run
from rlway_client.specs import AnyArray, FloatArray
from rlway_export.source import SavedPolicy

ROWS = 2048
RELATIVE = 1e-5  # float32 carries 1.2e-7; a few layers of differently ordered sums lose two digits


class Runner(Protocol):
    """An exported file that can be run."""

    @property
    def batch_sizes(self) -> tuple[int, ...]: ...

    def run(self, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]: ...


def compare(policy: SavedPolicy, file: str, runner: Runner, observations: AnyArray) -> list[Parity]:
    """One `Parity` per batch size of the runner, over at most `ROWS` observations."""
    observations = spread(observations, ROWS)
    noise = sample_noise(policy.run, len(observations))
    expected = policy.run_act(observations, noise)
    return [
        _judge(policy.run, file, batch, noise, expected, _run_in_batches(runner, observations, noise, batch))
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
    )


def spread(observations: AnyArray, rows: int) -> AnyArray:
    """At most `rows` of them, evenly over the whole recording."""
    if len(observations) <= rows:
        return observations
    chosen: AnyArray = observations[np.linspace(0, len(observations) - 1, rows).astype(int)]
    return chosen


def sample_noise(run: Run, rows: int) -> FloatArray:  # -> [rows, n]
    """Zeros for even rows; Gumbel or normal noise, as the action space takes it, for odd ones."""
    explore = Explore(temperature=1.0) if run.action.is_discrete else Explore(sigma=1.0)
    noise = draw_noise(explore, rows, run.noise.size, np.random.default_rng(0))
    noise[::2] = 0.0
    return noise


def _run_in_batches(runner: Runner, observations: AnyArray, noise: FloatArray, batch: int) -> dict[str, AnyArray]:
    parts: list[dict[str, AnyArray]] = []
    for start in range(0, len(observations), batch):
        rows = slice(start, start + batch)
        part = runner.run(observations[rows], noise[rows])
        parts.append({name: np.array(value) for name, value in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judge(
    run: Run, file: str, batch: int, noise: FloatArray, expected: dict[str, AnyArray], found: dict[str, AnyArray]
) -> Parity:
    if run.action.is_discrete:
        return _judge_discrete(file, batch, noise, expected, found)
    low, high = run.action.bounds()
    scale = float(np.max(high - low))
    if not np.isfinite(scale):  # unbounded: judged by the actions that there are
        scale = max(1.0, float(np.abs(expected["action"]).max()))
    difference = np.abs(expected["action"] - found["action"])
    return Parity(
        file=file,
        observations=len(difference),
        batch_sizes=[batch],
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        argmax_flips=0,
        smallest_flip_gap=None,
        passed=bool(difference.max() <= RELATIVE * scale),
        threshold=f"|Δaction| ≤ {RELATIVE:g} of the action's range ({scale:g})",
    )


def _judge_discrete(
    file: str, batch: int, noise: FloatArray, expected: dict[str, AnyArray], found: dict[str, AnyArray]
) -> Parity:
    q_values = expected["q_values"]
    allowed = RELATIVE * max(1.0, float(np.abs(q_values).max()))
    difference = np.abs(q_values - found["q_values"])
    flipped = np.flatnonzero(expected["action"] != found["action"])
    scores = np.sort((q_values + noise)[flipped], axis=-1)
    gaps = scores[:, -1] - scores[:, -2] if len(flipped) else np.zeros(0)
    smallest = float(gaps.min()) if len(flipped) else None
    return Parity(
        file=file,
        observations=len(q_values),
        batch_sizes=[batch],
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        argmax_flips=len(flipped),
        smallest_flip_gap=smallest,
        passed=bool(difference.max() <= allowed and (gaps < allowed).all()),
        threshold=f"|Δq| ≤ {allowed:.1e} (1e-5 of the largest |q|), no flip unless the best two are closer than that",
    )
