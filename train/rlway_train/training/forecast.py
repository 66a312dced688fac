"""Forecasts when a training ends, from its own history and from what ends it.

In:      the status of the training at its beginning, after each evaluation and now, each with the time.
Out:     `TimeLeft`: the seconds until it ends, and whether they are an estimate or only an upper bound.

**Pace.** How long a share of the steps (or of the episodes) takes is taken from the latest half of this process's work.
The time of evaluations is counted apart: each one that is still to come takes as long as the latest, without the
episodes that confirmed it. Otherwise the first evaluation, which is always confirmed, would multiply the estimate.

**Goal.** With `stop_return`, the training ends once an evaluation has confirmed that return. After n evaluations, the
best of them, made at step s_best, has covered a part of the way from the untrained policy's return to the goal. At step
s, as many more steps are then expected as

    e^(1 - 1/n) · b^(1/n)    with    e = max(s · √(return still to gain / return gained so far), s - s_best)

and b, all steps that are left. The square root is the geometric mean of two rules: to go on at the mean pace so far,
s · (to gain / gained), which trusts a lucky evaluation too much; and to last as long again as so far, s. A standstill,
s - s_best, is expected to last as long again as it has lasted. Few evaluations say little, so the first of them leave
much of the weight to b. The end is never expected before the second next evaluation.

It is an estimate only where there is a trend: after two evaluations, if the best is better than the untrained policy.
Otherwise the length of the training is an upper bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FEWEST_EVALUATIONS = 2  # from which a trend can be seen


class Length(NamedTuple):
    """What ends a training: whichever comes first."""

    steps: int
    episodes: int | None = None
    stop_return: float | None = None  # reached at a step that cannot be known before

    @property
    def is_bound(self) -> bool:
        """Whether the training may end before all its steps are taken."""
        return self.episodes is not None or self.stop_return is not None

    def share(self, step: int, episodes: int) -> float:
        """How much of the training is done, from 0 to 1, if no return ends it."""
        by_episodes = episodes / self.episodes if self.episodes else 0.0
        return max(step / self.steps, by_episodes)


class Evaluated(NamedTuple):
    """What the evaluations up to a step have found."""

    share: float  # of the training, at the latest evaluation
    evaluations: int  # of trained policies
    first_return: float  # of the untrained policy
    best_return: float
    best_share: float  # where the best one was made


class TimeLeft(NamedTuple):
    seconds: float
    is_estimate: bool = False  # of when the return is reached that ends the training
    is_bound: bool = False  # nothing says when that return may be reached

    @property
    def words(self) -> str:
        """`about 12 s`, `≤ 31 s`, `10 s`."""
        return f"{'about ' * self.is_estimate}{'≤ ' * self.is_bound}{show_duration(self.seconds)}"


class Forecast:
    """Call `begin` when the first step is about to be taken, and `evaluated` after each evaluation."""

    def __init__(self, stop_return: float | None) -> None:
        self._stop_return = stop_return
        self._begun_s = self._evaluating_s = 0.0
        self._marks: list[tuple[float, float]] = []  # (share, seconds of training) at the beginning, after evaluations
        self._evaluation_s = 0.0  # of the next evaluations, each
        self._between = 0.0  # two evaluations, as a share
        self._end: float | None = None  # the share at which the training is expected to end

    def begin(self, share: float, now_s: float) -> None:
        self._begun_s, self._evaluating_s, self._marks = now_s, 0.0, [(share, 0.0)]

    def evaluated(self, found: Evaluated, now_s: float, took_s: float = 0.0, unconfirmed: float = 1.0) -> None:
        """`took_s` is how long the evaluation took, `unconfirmed` the share of its episodes that did not confirm it."""
        self._evaluating_s += took_s
        self._evaluation_s = took_s * unconfirmed
        self._between = max(found.share - self._marks[-1][0], 0.0) if self._marks else 0.0
        if len(self._marks) <= 1:  # the beginning of this process may be just before an evaluation
            self._between = max(self._between, found.share / max(found.evaluations, 1) / 2)
        self._marks.append((found.share, self._training_s(now_s)))
        more = None if self._stop_return is None else expected_share(found, self._stop_return)
        self._end = None if more is None else found.share + max(more, 2 * self._between)

    def left(self, share: float, now_s: float) -> TimeLeft | None:
        """None as long as no pace is known."""
        training_s = self._training_s(now_s)
        # Since the last mark before the latest half, or since the beginning.
        begun = self._marks[0][0] if self._marks else share
        since, since_s = next(
            (mark for mark in reversed(self._marks) if mark[0] <= (begun + share) / 2), (share, training_s)
        )
        if not share > since:
            return None
        pace_s = (training_s - since_s) / (share - since)
        if self._between:
            pace_s += self._evaluation_s / self._between
        if self._end is not None and self._end < 1:
            return TimeLeft(max(self._end - share, 0.0) * pace_s, is_estimate=True)
        return TimeLeft(max(1 - share, 0.0) * pace_s, is_bound=self._stop_return is not None)

    def _training_s(self, now_s: float) -> float:
        """How long this process has trained, without evaluations."""
        return max(now_s - self._begun_s - self._evaluating_s, 0.0)


def expected_share(found: Evaluated, goal: float) -> float | None:
    """How much more of the training is expected until the goal is reached; None where there is no trend."""
    gained, missing = found.best_return - found.first_return, goal - found.best_return
    bound = 1 - found.share
    if not (gained > 0 and missing > 0 and math.isfinite(gained) and math.isfinite(missing) and bound > 0):
        return None
    if found.evaluations < FEWEST_EVALUATIONS:
        return None
    expected = max(found.share * math.sqrt(missing / gained), found.share - found.best_share)
    return float(expected ** (1 - 1 / found.evaluations) * bound ** (1 / found.evaluations))


def show_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
