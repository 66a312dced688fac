"""Turns exploration options into the noise that a policy's graph takes; zero noise gives the greedy action.

In:      epsilon, temperature or sigma; a random generator.
Out:     noise float32[rows, n], the second argument of `act(observation, noise)`.
Refuses: a kind of exploration that does not fit the policy's draws (SpecViolated).

    discrete    action = argmax(q_values + noise)
                temperature T: noise = T · Gumbel(0, 1), which samples softmax(q / T)
                               (the Gumbel-max trick: Maddison, Tarlow & Minka, "A* sampling", 2014)
                epsilon ε:     +1e30 on one uniformly drawn entry, with probability ε in each row
    continuous  action = mean + magnitude · tanh(loc + scale · noise)
                sigma σ:       noise ~ N(0, σ²); σ = 1 samples the trained distribution

A policy with draws of both kinds takes temperature and sigma together; what is not given stays greedy.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import Draw
from rlway_client.contract.specs import Fault, FloatArray, describe

FORCED = np.float32(1e30)  # above every Q-value, yet finite: −inf would turn 0 · inf into NaN on some runtimes

MOST_NOISE = 1e6  # the largest temperature or sigma, with which the noise is still finite in float32


class Explore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the three; temperature and sigma together for a policy with draws of both kinds."""

    epsilon: float | None = None
    temperature: float | None = None
    sigma: float | None = None


def check_explore(explore: Explore, draws: Sequence[Draw]) -> None:
    """Raises SpecViolated if a policy with these draws cannot explore in this way."""
    names = ("epsilon", "temperature", "sigma")
    given = {name: value for name in names if (value := getattr(explore, name)) is not None}
    kinds = {draw.distribution for draw in draws}
    mixed = len(kinds) > 1
    if not kinds:
        raise SpecViolated([Fault("explore", "nothing: this policy was exported without a noise input", "an object")])
    allowed = ("temperature", "sigma") if mixed else ("epsilon", "temperature") if "gumbel" in kinds else ("sigma",)
    if not given or (len(given) > 1 and not (mixed and set(given) == set(allowed))):
        expected = f"{'one or both' if mixed else 'exactly one'} of {', '.join(allowed)}"
        raise SpecViolated([Fault("explore", expected, ", ".join(given) or "none")])
    for name, value in given.items():
        if name not in allowed:
            kind = "mixed" if mixed else "discrete" if "gumbel" in kinds else "continuous"
            raise SpecViolated([Fault(f"explore.{name}", f"{' or '.join(allowed)} for a {kind} action", name)])
        most = 1.0 if name == "epsilon" else MOST_NOISE
        if not 0 <= value <= most:
            expected = f"a number from 0 to {most:g}"
            raise SpecViolated([Fault(f"explore.{name}", expected, describe(value))])


def sampling_explore(draws: Sequence[Draw]) -> Explore:
    """The options with which the noise has the distribution of the policy's own draws."""
    kinds = {draw.distribution for draw in draws}
    return Explore(temperature=1.0 if "gumbel" in kinds else None, sigma=1.0 if "normal" in kinds else None)


def draw_noise(
    explore: Explore, rows: int, draws: Sequence[Draw], generator: np.random.Generator
) -> FloatArray:  # -> [rows, n]
    """Noise for `rows` observations; generators in the same state give the same noise for every runtime."""
    parts = [_draw(explore, rows, draw, generator) for draw in draws]
    if explore.epsilon is not None:
        explored = generator.random(rows) < explore.epsilon
        for draw, part in zip(draws, parts, strict=True):
            chosen = generator.integers(draw.size, size=rows)
            part[explored, chosen[explored]] = FORCED
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _draw(explore: Explore, rows: int, draw: Draw, generator: np.random.Generator) -> FloatArray:  # -> [rows, size]
    if draw.distribution == "gumbel" and explore.temperature is not None:
        return (explore.temperature * generator.gumbel(size=(rows, draw.size))).astype(np.float32)
    if draw.distribution == "normal" and explore.sigma is not None:
        return (explore.sigma * generator.standard_normal((rows, draw.size))).astype(np.float32)
    return np.zeros((rows, draw.size), np.float32)
