"""Whether the exported files act as the SavedModel does.

In:      the SavedModel, observations.
Out:     `Evidence`: the same inputs for every file, and the SavedModel's answers to compare theirs with.

Half of the rows are greedy (zero noise), half carry noise, so that sampled actions are compared too. A policy that
reads more of the time step than the observation gets neutral values in half of the rows. A policy with state goes
through the observations in several episodes at once. Every row gets the state that the SavedModel had there, so an
error in one row does not carry over to the next. A row that begins an episode gets a state too, which has to be
ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.exploration import draw_noise, sampling_explore
from rlway_client.contract.interface import NEXT, RESET, Draw
from rlway_client.contract.manifest import Parity
from rlway_client.contract.parity import Arrays, Limit, Runner, Tolerance, compare, limit_for, rows_of, spread
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_client.contract.time_step import neutral_time_step, sample_time_step
from rlway_export.reference.base import Reference

ROWS = 2048
MOST_ROUNDING = 1e-3  # what rounding the inputs may explain, as a share of the outputs' range
EPISODES = 32  # at once, for a policy with state
EPISODE_STEPS = 16  # on average


def gather(policy: Reference, observations: Arrays) -> Evidence:
    """The policy's answers to at most `ROWS` of the observations. Raises ExportRefused if some are not finite."""
    inputs = {name: spread(array, ROWS) for name, array in observations.items()}
    noise = policy.interface.noise
    if noise is not None:
        inputs[noise.name] = sample_noise(policy.interface.noise_draws, rows_of(inputs))
    inputs |= vary_time_step(policy.interface.time_step, rows_of(inputs))
    with_state = bool(policy.interface.state)
    evidence = _gather_with_state(policy, inputs) if with_state else Evidence(inputs, policy.run_act(inputs))
    _check_finite(policy, evidence)
    return evidence


def _check_finite(policy: Reference, evidence: Evidence) -> None:
    """No file can be compared where the policy itself gives no number, such as 0 · ∞ for an infinite deviation."""
    rows, odd = rows_of(evidence.expected), np.zeros(rows_of(evidence.expected), np.bool_)
    for spec in policy.interface.actions:
        odd |= ~np.isfinite(evidence.expected[spec.name].reshape(rows, -1)).all(axis=1)
    if odd.any():
        raise ExportRefused(
            f"the policy gives no finite action for {odd.sum():,} of the {rows:,} observations that it is compared "
            f"over; give some that it visits, with --observations FILE.npz or --env."
        )


def judge(evidence: Evidence, policy: Reference, file: Path, runner: Runner, tolerance: Tolerance) -> list[Parity]:
    """One `Parity` per batch size of the runner.

    No file can be nearer to the policy than rounding lets the policy be to itself: file and policy may each be one
    step of float32 in the inputs away from the exact answer. So twice what such a step changes is allowed as well, up
    to `MOST_ROUNDING`: where a step changes more than that, the policy jumps, which excuses no file.
    """
    limit = limit_for(policy.interface, tolerance, evidence.expected)
    found = compare(file.name, runner, policy.interface, limit, evidence.inputs, evidence.expected)
    if all(row.passed for row in found):
        return found
    most = limit.difference * MOST_ROUNDING / tolerance.relative
    own = min(most, 2 * _own_rounding(evidence, policy, limit))
    if own <= limit.difference:
        return found
    words = f"{limit.words}, or {own:.1e} by rounding the inputs"
    limit = limit._replace(difference=own, words=words)
    return compare(file.name, runner, policy.interface, limit, evidence.inputs, evidence.expected)


class _Nudged:
    """The policy itself, with every number of its inputs moved to the next one up or down."""

    batch_sizes = (ROWS,) * 3

    def __init__(self, policy: Reference) -> None:
        self._policy = policy
        self._generator = np.random.default_rng(0)

    def run(self, inputs: Arrays) -> Arrays:
        return self._policy.run_act({name: self._nudge(array) for name, array in inputs.items()})

    def _nudge(self, array: AnyArray) -> AnyArray:
        if array.dtype.kind != "f":
            return array
        ends = np.where(self._generator.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
        return np.where(array == 0, array, np.nextafter(array, ends))


def _own_rounding(evidence: Evidence, policy: Reference, limit: Limit) -> float:
    """The most that a step of the inputs' type changes the policy's own answers; rows with another action left out."""
    rows = compare("", _Nudged(policy), policy.interface, limit, evidence.inputs, evidence.expected)
    return max(row.max_difference for row in rows)


def sample_noise(draws: Sequence[Draw], rows: int) -> FloatArray:  # -> [rows, n]
    """Noise with the distribution of the policy's own draws. A random half of the rows is zeros."""
    generator = np.random.default_rng(0)
    sampled = draw_noise(sampling_explore(draws), rows, draws, generator)
    sampled[generator.random(rows) < 0.5] = 0.0
    return sampled


def vary_time_step(specs: Sequence[TensorSpec], rows: int) -> Arrays:  # -> [rows] by name
    """Rewards, discounts and step types as environments give them; a random half of the rows is neutral."""
    generator = np.random.default_rng(1)
    neutral, sampled = neutral_time_step(specs, rows), sample_time_step(specs, rows, generator)
    told = generator.random(rows) < 0.5
    return {name: np.where(told, sampled[name], neutral[name]) for name in neutral}


def _gather_with_state(policy: Reference, inputs: Arrays) -> Evidence:
    """The answers of a policy with state: step after step, each with the state of the step before."""
    rows, generator = rows_of(inputs), np.random.default_rng(0)
    state = {s.name: _sample_state(s, min(EPISODES, rows), generator) for s in policy.interface.state}
    taken, given = [], []
    for start in range(0, rows, EPISODES):
        step = {name: array[start : start + EPISODES] for name, array in inputs.items()}
        n = rows_of(step)
        reset = np.full(n, True) if start == 0 else generator.random(n) < 1 / EPISODE_STEPS
        step |= {name: array[:n] for name, array in state.items()} | {RESET.name: reset}
        answer = policy.run_act(step)
        state = {name: answer[NEXT + name] for name in state}
        taken.append(step)
        given.append(answer)
    return Evidence(_joined(taken), _joined(given))


def _sample_state(spec: TensorSpec, rows: int, generator: np.random.Generator) -> AnyArray:
    return generator.standard_normal((rows, *spec.shape)).astype(spec.numpy_dtype)


def _joined(steps: list[Arrays]) -> Arrays:
    return {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
