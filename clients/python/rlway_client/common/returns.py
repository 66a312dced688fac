"""Writes returns for people: with as many digits as their differences need, and never as minus zero.

In:      the returns of some episodes, a mean with its standard deviation or its confidence interval, or numbers that
         stand side by side.
Out:     text.

The size of a return does not show how many of its digits matter: 0.8 may be one step short of 0.84.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import pstdev

ALIKE = 1e-9  # as a share of the larger number: sums of the same rewards in another order differ by less
MOST_PLACES = 12
TINY, HUGE = 1e-6, 1e15  # beyond which a number takes an exponent


def show_returns(returns: Sequence[float]) -> str:
    """`125.2 over 10 episodes (9 to 500)`."""
    low, high, n = min(returns), max(returns), len(returns)
    mean = show_mean(math.fsum(returns) / n, pstdev(returns) if high - low > ALIKE * abs(high) else 0.0)
    ends = [
        _shortened(_text(end, _places(high - low, 2))) if high - low > ALIKE * abs(end) else mean for end in (low, high)
    ]
    return f"{mean} over {n} episode{'s' * (n != 1)} ({ends[0]} to {ends[1]})"


def show_mean(mean: float, std: float) -> str:
    """The mean of numbers with this standard deviation, rounded to the second digit of the deviation."""
    if not std > ALIKE * abs(mean):
        return _shortened(_text(mean, _places(mean, 6)))
    return _text(mean, max(int(std < 1e4), _places(std, 2)))


def show_estimate(mean: float, interval: tuple[float, float] | None, episodes: int, kind: str = "") -> str:
    """`469.1 over 20 fresh episodes (95% interval 431 to 495)`, where `kind` is `fresh`.

    If all episodes return the same, the interval has no width, which says little: `500 in each of 20 fresh episodes`.
    """
    played = f"{kind} episode{'s' * (episodes != 1)}".strip()
    if interval is None:
        return f"{show_together([mean])[0]} over {episodes:,} {played}"
    low, high = interval
    if are_alike(low, high):
        return f"{show_mean(mean, 0.0)} in each of {episodes:,} {played}"
    ends = [_shortened(_text(end, _places(high - low, 2))) for end in interval]
    return f"{show_mean(mean, high - low)} over {episodes:,} {played} (95% interval {ends[0]} to {ends[1]})"


def are_alike(low: float, high: float) -> bool:
    """Whether two returns differ by rounding alone."""
    return not high - low > ALIKE * max(abs(low), abs(high))


def show_together(values: Sequence[float]) -> list[str]:
    """Each value with three digits, or with more where two different values would read alike."""
    ordered = sorted(value for value in values if math.isfinite(value))
    gaps = [high - low for low, high in pairwise(ordered) if high - low > ALIKE * max(abs(low), abs(high))]
    apart = _places(min(gaps), 2) if gaps else 0
    return [_shortened(_text(value, max(int(abs(value) < 1e4), _places(value, 3), apart))) for value in values]


def _places(size: float, digits: int) -> int:
    """How many decimal places show so many digits of a number of this size."""
    if size == 0 or not math.isfinite(size):
        return 0
    return min(MOST_PLACES, max(0, digits - 1 - math.floor(math.log10(abs(size)))))


def _text(value: float, places: int) -> str:
    if value != 0 and math.isfinite(value) and not TINY <= abs(value) < HUGE:
        return f"{value:.3g}"
    return f"{value:z.{places}f}"


def _shortened(text: str) -> str:
    """Without the zeros at the end of its decimals."""
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
