"""Turns exploration options into the noise that a policy's graph takes; zero noise gives the greedy action.

In:      one of epsilon, temperature and sigma; a random generator.
Out:     noise float32[rows, n], the second argument of `act(observation, noise)`.
Refuses: a kind of exploration that does not fit the policy's action (SpecViolated).

    discrete    action = argmax(q_values + noise)
                temperature T: noise = T · Gumbel(0, 1), which samples softmax(q / T)
                               (the Gumbel-max trick: Maddison, Tarlow & Minka, "A* sampling", 2014)
                epsilon ε:     +1e30 on one uniformly drawn entry, with probability ε in each row
    continuous  action = mean + magnitude · tanh(loc + scale · noise)
                sigma σ:       noise ~ N(0, σ²); σ = 1 samples the trained distribution
"""

from __future__ import annotations

import msgspec
import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import Fault, FloatArray, TensorSpec, describe

FORCED = np.float32(1e30)  # above every Q-value, yet finite: −inf would turn 0 · inf into NaN on some runtimes

MOST_NOISE = 1e6  # the largest temperature or sigma, with which the noise is still finite in float32


class Explore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of the three."""

    epsilon: float | None = None
    temperature: float | None = None
    sigma: float | None = None


def check_explore(explore: Explore, action: TensorSpec, noise: TensorSpec | None) -> None:
    """Raises SpecViolated if a policy with this action and noise cannot explore in this way."""
    given = {
        name: value for name in ("epsilon", "temperature", "sigma") if (value := getattr(explore, name)) is not None
    }
    allowed = ("epsilon", "temperature") if action.is_discrete else ("sigma",)
    if noise is None:
        raise SpecViolated([Fault("explore", "nothing: this policy was exported without a noise input", "an object")])
    if len(given) != 1:
        raise SpecViolated([Fault("explore", f"exactly one of {', '.join(allowed)}", ", ".join(given) or "none")])
    name, value = next(iter(given.items()))
    if name not in allowed:
        kind = "discrete" if action.is_discrete else "continuous"
        raise SpecViolated([Fault(f"explore.{name}", f"{' or '.join(allowed)} for a {kind} action", name)])
    most = 1.0 if name == "epsilon" else MOST_NOISE
    if not 0 <= value <= most:
        expected = f"a number from 0 to {most:g}"
        raise SpecViolated([Fault(f"explore.{name}", expected, describe(value))])


def draw_noise(explore: Explore, rows: int, n: int, generator: np.random.Generator) -> FloatArray:  # -> [rows, n]
    """Noise for `rows` observations; generators in the same state give the same noise for every runtime."""
    if explore.temperature is not None:
        return (explore.temperature * generator.gumbel(size=(rows, n))).astype(np.float32)
    if explore.sigma is not None:
        return (explore.sigma * generator.standard_normal((rows, n))).astype(np.float32)
    noise = np.zeros((rows, n), np.float32)
    explored = np.flatnonzero(generator.random(rows) < (explore.epsilon or 0.0))
    noise[explored, generator.integers(n, size=rows)[explored]] = FORCED
    return noise
