"""The confidence interval of a mean return."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.specs import AnyArray
from rlway_train.collect.confidence import mean_interval

RETURNS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30).map(np.array)


def test_for_symmetrical_returns_it_is_students_interval() -> None:
    """Of 20 episodes: the mean ± 2.093 s/√20."""
    returns = np.concatenate([np.arange(10.0), -np.arange(10.0)])
    half = 2.093 * returns.std(ddof=1) / math.sqrt(20)
    assert mean_interval(returns) == pytest.approx((-half, half), rel=0.03)


def test_it_reaches_further_towards_the_longer_tail_but_not_beyond_the_returns() -> None:
    """18 episodes of 500 and two short ones: Student's interval would end at 519."""
    returns = np.array([500.0] * 18 + [300.0, 150.0])
    interval = mean_interval(returns)
    assert interval is not None
    low, high = interval
    assert low < returns.mean() < high <= 500
    assert returns.mean() - low > high - returns.mean()


def test_it_covers_the_true_mean_about_as_often_as_it_says() -> None:
    """In 92% of the cases for exponential returns of 20 episodes, which are as skewed as returns come."""
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.exponential(1.0, 20)) for _ in range(200)]
    covered = np.mean([interval is not None and interval[0] <= 1 <= interval[1] for interval in intervals])
    assert 0.88 < covered < 0.98


@pytest.mark.parametrize("returns", [[0.1] * 20, [500.0] * 3, [-0.7, -0.7]])
def test_equal_returns_have_an_interval_without_width(returns: list[float]) -> None:
    """Without the rounding of their sum."""
    assert mean_interval(np.array(returns)) == (returns[0], returns[0])


@pytest.mark.parametrize("returns", [[], [3.0], [1.0, math.nan], [1.0, math.inf]])
def test_there_is_none_where_nothing_can_be_said(returns: list[float]) -> None:
    """For a single episode, and for returns that are not finite."""
    assert mean_interval(np.array(returns)) is None


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(RETURNS, st.randoms(use_true_random=False))
def test_it_lies_within_the_returns_and_does_not_depend_on_their_order(returns: AnyArray, random: Random) -> None:
    """The mean is inside."""
    interval = mean_interval(returns)
    assert interval is not None
    slack = 1e-9 * float(np.abs(returns).max())
    assert returns.min() <= interval[0] <= returns.mean() + slack
    assert returns.mean() - slack <= interval[1] <= returns.max()
    shuffled = returns.tolist()
    random.shuffle(shuffled)
    assert mean_interval(np.array(shuffled)) == interval
