"""When a training is expected to end: the rule by itself, and on recorded learning curves."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_train.training.forecast import Evaluated, Forecast, Length, TimeLeft, expected_share, show_duration

# Mean returns of CartPole-v1 at every 1,000 steps, up to the confirmed 500 that ended the training: seeds 0, 1 and 3.
CURVES = [
    [int(mean) for mean in curve.split()]
    for curve in (
        "11 194 240 375 276 216 166 146 187 130 146 112 135 161 252 123 128 124 154 368 158 338 361 144 188 499 391 "
        "500",
        "71 202 182 168 240 210 168 160 160 117 168 119 122 119 212 217 221 204 229 231 284 235 372 296 299 212 163 "
        "351 233 448 346 500",
        "95 279 121 211 168 108 112 411 450 202 131 121 118 141 147 78 112 180 419 303 176 179 500",
    )
]
FULL = Length(100_000, stop_return=500.0)
RETURNS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e3, 1e3)
SHARES = st.floats(0, 1)


@st.composite
def found(draw: st.DrawFn) -> Evaluated:
    """A training with a trend."""
    first = draw(st.floats(-1e3, 1e3))
    share = draw(st.floats(1e-6, 0.99))
    gained = draw(st.floats(1e-3, 1e4))
    return Evaluated(share, draw(st.integers(2, 500)), first, first + gained, share * draw(SHARES))


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(found(), st.floats(1e-3, 1e4), st.floats(0, 1e3), SHARES)
def test_a_better_best_or_a_nearer_goal_never_lengthens_the_estimate(
    now: Evaluated, missing: float, less: float, later: float
) -> None:
    """Nor does a best one that was made later. The estimate is never negative, and always finite."""
    goal = now.best_return + missing
    expected = expected_share(now, goal)
    assert expected is not None
    assert 0 <= expected < math.inf
    for easier, easier_goal in (
        (now._replace(best_return=min(now.best_return + less, math.nextafter(goal, -math.inf))), goal),
        (now, max(goal - less, math.nextafter(now.best_return, math.inf))),
        (now._replace(best_share=max(now.best_share, later * now.share)), goal),
    ):
        shorter = expected_share(easier, easier_goal)
        assert shorter is not None
        assert shorter <= expected * (1 + 1e-9)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    st.none() | RETURNS,
    RETURNS,
    st.lists(st.tuples(st.integers(0, 5_000), RETURNS, st.floats(0, 1e5), st.floats(0, 1e5)), max_size=8),
)
def test_the_time_left_is_never_negative_and_never_above_the_bound(
    goal: float | None, first: float, steps: list[tuple[int, float, float, float]]
) -> None:
    """For any course of a training: NaN, infinite returns, evaluations without steps between them, no time at all."""
    forecast, bound = Forecast(goal), Forecast(None)
    share = now_s = 0.0
    best, best_share = -math.inf, 0.0
    for each in (forecast, bound):
        each.begin(0.0, 0.0)
    for count, (taken, value, training_s, evaluating_s) in enumerate(steps, 1):
        share, now_s = min(share + taken / 20_000, 1.0), now_s + training_s + evaluating_s
        if not value < best:
            best, best_share = value, share
        for each in (forecast, bound):
            each.evaluated(Evaluated(share, count, first, best, best_share), now_s, evaluating_s, 0.2)
        left, most = forecast.left(share, now_s), bound.left(share, now_s)
        assert (left is None) == (most is None)
        if left is not None and most is not None:
            assert 0 <= left.seconds <= most.seconds < math.inf
            assert left.is_bound == (goal is not None and not left.is_estimate)


@pytest.mark.parametrize(
    "evaluated",
    [
        Evaluated(0.02, 1, 11.0, 194.0, 0.02),  # a single one
        Evaluated(0.05, 4, 200.0, 194.0, 0.02),  # the untrained policy is the best
        Evaluated(0.05, 4, math.nan, 194.0, 0.02),  # of an older run, whose curve begins later
        Evaluated(0.05, 4, 11.0, 500.0, 0.02),  # a resumed training that had reached the goal
        Evaluated(1.0, 4, 11.0, 194.0, 0.02),  # nothing is left
    ],
)
def test_without_a_trend_there_is_no_estimate(evaluated: Evaluated) -> None:
    """Then only the length of the training bounds its time."""
    assert expected_share(evaluated, 500.0) is None


def replayed(curve: list[int]) -> list[tuple[int, TimeLeft]]:
    """The time left after each evaluation. A thousand steps take a second."""
    forecast, told = Forecast(FULL.stop_return), []
    forecast.begin(FULL.share(1_000, 0), 0.0)
    best_step = 0
    for count, value in enumerate(curve[1:-1], 1):
        step = 1_000 * (count + 1)
        if value >= max(curve[1 : count + 1]):
            best_step = step
        shares = FULL.share(step, 0), FULL.share(best_step, 0)
        forecast.evaluated(Evaluated(shares[0], count, curve[0], max(curve[1 : count + 1]), shares[1]), count)
        left = forecast.left(shares[0], count)
        assert left is not None
        told.append((count, left))
    return told


def test_on_recorded_curves_the_estimate_is_much_nearer_than_the_bound() -> None:
    """From a quarter of the training on, within a factor of 3 in the median, where the bound is off by more than 5."""
    errors, bounds = [], []
    for curve in CURVES:
        real = len(curve) - 1
        for count, left in replayed(curve)[real // 4 :]:
            assert left.is_estimate
            errors.append(abs(math.log(left.seconds / (real - count))))
            bounds.append(math.log((99 - count) / (real - count)))
    assert math.exp(median(errors)) < 3
    assert math.exp(median(bounds)) > 5


def test_from_line_to_line_the_estimate_hardly_changes() -> None:
    """On curves that fall from 450 to 130. Only a new best evaluation takes away more than a third of it."""
    for curve in CURVES:
        told = [(count, left.seconds) for count, left in replayed(curve) if left.is_estimate]
        for (_, before), (count, after) in pairwise(told):
            is_best = curve[count] == max(curve[1 : count + 1])
            assert (0 if is_best else 2 / 3) < after / before < 5 / 4


def test_evaluations_are_counted_and_their_confirmation_is_not() -> None:
    """Eight tenths are left: 100 s each, and 2 s to evaluate. Of the latest 10 s, four fifths only confirmed."""
    forecast = Forecast(None)
    forecast.begin(0.1, 0.0)
    forecast.evaluated(Evaluated(0.2, 1, 0.0, 1.0, 0.2), 110.0, took_s=10.0, unconfirmed=0.2)
    left = forecast.left(0.2, 110.0)
    assert left is not None
    assert left.seconds == pytest.approx(8 * (100 + 2))
    assert left.words == "14 min"


def test_a_resumption_just_before_an_evaluation_does_not_multiply_the_time_of_evaluations() -> None:
    """Nine evaluations in 9,984 steps of 60,000, the tenth 32 steps later: they are not 32 steps apart."""
    forecast = Forecast(None)
    forecast.begin(9_984 / 60_000, 0.0)
    forecast.evaluated(Evaluated(10_016 / 60_000, 10, 0.0, 1.0, 0.1), 3.0, took_s=2.5)
    left = forecast.left(10_500 / 60_000, 8.0)
    assert left is not None
    assert left.seconds < 1_500


def test_a_training_that_gets_slower_is_measured_by_its_latest_half() -> None:
    """The first ten hundredths took 1 s each, the latest ones 3 s each."""
    forecast = Forecast(None)
    forecast.begin(0.0, 0.0)
    for share, now_s in ((0.1, 10.0), (0.2, 40.0)):
        forecast.evaluated(Evaluated(share, 1, 0.0, 1.0, share), now_s)
    left = forecast.left(0.2, 40.0)
    assert left is not None
    assert left.seconds == pytest.approx(240)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (118.0, "118 s"), (121.0, "2 min"), (7_000.0, "117 min"), (9_000.0, "2.5 h")]
)
def test_a_duration_has_one_unit(seconds: float, shown: str) -> None:
    """Seconds, minutes or hours."""
    assert show_duration(seconds) == shown
