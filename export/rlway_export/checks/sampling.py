"""Whether a policy that draws its actions has the same distribution in the files as in its source.

In:      a policy whose draws became inputs, a file to run, observations.
Out:     `Sampling`: the smallest p-value of all tests.
Refuses: a file whose actions have another distribution (ExportRefused).

For a few observations the source draws actions with its own draws, and the file with noise. Two samples are compared by
tests that need nothing but the two:

    continuous    two-sample Kolmogorov–Smirnov, each element and some random projections of the whole action
                  (Press et al., Numerical Recipes, 3rd ed., §14.3.3)
    discrete      Fisher's exact test of each value's count

The level holds for all tests of an export together (Bonferroni), so an export of a right file fails once in a million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.exploration import Explore, draw_noise, sampling_explore
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays, run_in_batches
from rlway_client.contract.specs import AnyArray
from rlway_export.reference.base import Reference

LEVEL = 1e-6
OBSERVATIONS = 4
ROWS = 4096  # actions for each observation
MOST_VALUES = 64  # of a discrete element that are tested, the most frequent ones
PROJECTIONS = 3

Run = Callable[[Arrays], Arrays]


def compare_sampling(policy: Reference, run: Run, batch: int, inputs: Arrays, file: str) -> Sampling | None:
    """`inputs` are rows of the parity check. None for a policy that does not draw, or whose ε is not known."""
    sampling = policy.sampling
    explore = default_explore(policy)
    if sampling is None or explore is None:
        return sampling
    generator, p_values = np.random.default_rng(0), list[tuple[float, str]]()
    rows = len(next(iter(inputs.values())))
    for place in np.linspace(0, rows - 1, OBSERVATIONS).astype(int):
        same = {name: np.repeat(array[place : place + 1], ROWS, axis=0) for name, array in inputs.items()}
        noise = draw_noise(explore, ROWS, policy.interface.noise_draws, generator)
        drawn = policy.sample(same)
        found = run_in_batches(run, same | {"noise": noise}, batch)
        p_values += two_sample_tests(drawn, found, policy.interface, generator)
    smallest, where = min(p_values)
    if smallest < LEVEL / len(p_values):
        raise ExportRefused(
            f"{file}: draws {where} with another distribution than its source: expected a p-value of at least "
            f"{LEVEL / len(p_values):.0e} in each of {len(p_values)} two-sample tests, got {smallest:.0e}; nothing was "
            f"published."
        )
    return msgspec.structs.replace(
        sampling, observations=OBSERVATIONS, rows=ROWS, tests=len(p_values), p_value=smallest, level=LEVEL
    )


def default_explore(policy: Reference) -> Explore | None:
    """The options with which the exported policy acts as its source did; None if they are not known.

    A source with a noise input of its own, such as a run, is sampled by its whole distribution.
    """
    sampling = policy.sampling
    if policy.interface.noise is None:
        return None
    if sampling is not None and sampling.kind == "epsilon-greedy":
        return None if sampling.epsilon is None else Explore(epsilon=sampling.epsilon)
    return sampling_explore(policy.interface.noise_draws)


def two_sample_tests(
    first: Arrays, second: Arrays, interface: Interface, generator: np.random.Generator
) -> Iterator[tuple[float, str]]:
    """The p-value of each test, and the part of the action that it looks at."""
    for spec in interface.actions:
        a, b = (side[spec.name].reshape(len(side[spec.name]), -1) for side in (first, second))
        for column in range(a.shape[1]):
            compare = _smallest_fisher if spec.is_discrete else kolmogorov_smirnov
            yield compare(a[:, column], b[:, column]), short_name(spec.name)
    continuous = [spec.name for spec in interface.actions if not spec.is_discrete]
    if sum(spec.size for spec in interface.actions if not spec.is_discrete) < 2:
        return
    a, b = (
        np.concatenate([side[n].reshape(len(side[n]), -1) for n in continuous], axis=1).astype(np.float64)
        for side in (first, second)
    )
    for _ in range(PROJECTIONS):
        direction = generator.standard_normal(a.shape[1]) / np.maximum(a.std(axis=0), 1e-12)
        yield kolmogorov_smirnov(a @ direction, b @ direction), "several elements together"


def kolmogorov_smirnov(first: AnyArray, second: AnyArray) -> float:
    """The p-value of the hypothesis that both samples come from one continuous distribution.

    Ties, such as actions at their bounds, make it larger than it should be, never smaller. Differences that rounding
    explains are none: each value is rounded to 6 digits of the largest.
    """
    largest = max(float(np.abs(first).max()), float(np.abs(second).max()), 1e-12)
    digits = 6 - math.ceil(math.log10(largest))
    a, b = (np.sort(np.round(side.astype(np.float64), digits)) for side in (first, second))
    every = np.concatenate([a, b])
    shares = [np.searchsorted(side, every, side="right") / len(side) for side in (a, b)]
    statistic = float(np.abs(shares[0] - shares[1]).max())
    root = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    scaled = (root + 0.12 + 0.11 / root) * statistic
    if scaled < 0.2:  # the series converges too slowly there, and its sum is 1 to 12 digits
        return 1.0
    terms = [(1 if k % 2 else -1) * math.exp(-2.0 * k * k * scaled * scaled) for k in range(1, 101)]
    return min(1.0, max(0.0, 2.0 * sum(terms)))


def fisher(first: int, second: int, rows: int) -> float:
    """The two-sided p-value of two counts, each of `rows` trials (Fisher's exact test, twice the smaller tail)."""
    total = first + second
    low, high = max(0, total - rows), min(rows, total)

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    whole = log_choose(2 * rows, total)
    tail = range(low, first + 1) if first <= second else range(first, high + 1)
    shares = [math.exp(log_choose(rows, k) + log_choose(rows, total - k) - whole) for k in tail]
    return min(1.0, 2.0 * sum(shares))


def _smallest_fisher(first: AnyArray, second: AnyArray) -> float:
    """The smallest p-value over the values of a discrete element, times how many there are."""
    values, counts = np.unique(np.concatenate([first, second]), return_counts=True)
    frequent = values[np.argsort(-counts)][:MOST_VALUES]
    found = [fisher(int((first == value).sum()), int((second == value).sum()), len(first)) for value in frequent]
    return min(1.0, min(found) * len(found))
