"""The summary that the bench for trainings prints."""

from __future__ import annotations

import math

import pytest

from benchmarks.seeds import Training, summary


def training(returns: list[float], confirmed: list[bool] | None = None) -> Training:
    steps = [1_000 * i for i in range(1, len(returns) + 1)]
    return Training(0, "native", steps, returns, confirmed or [True] * len(returns), 20.0, 490.0, 10.0)


def test_only_a_confirmed_evaluation_reaches_the_goal() -> None:
    row = summary([training([100.0, 480.0, 490.0, 300.0], [True, False, True, True])], goal=475.0)
    assert (row["reached"], row["latest"], row["lowest_of_all"]) == (1, 3_000, 300.0)


def test_a_training_that_never_reaches_the_goal_counts_as_infinitely_long() -> None:
    """It raises the median, and has no evaluations after the goal."""
    row = summary([training([480.0, 470.0]), training([100.0, 100.0]), training([100.0, 100.0])], goal=475.0)
    assert row["reached"] == 1
    assert row["steps"][1] == row["latest"] == math.inf
    assert row["lowest"] == [470.0] * 3


def test_later_evaluations_are_low_below_sixty_percent_of_the_way_from_random_actions() -> None:
    """The way from 20 to 475: below 293."""
    row = summary([training([480.0, 292.9, 293.1, 500.0, 500.0])], goal=475.0)
    assert row["share_low"] == pytest.approx(0.25)
