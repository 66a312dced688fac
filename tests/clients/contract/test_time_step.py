"""What a policy reads besides the observation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlway_client import TensorSpec
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.time_step import neutral_time_step, read_time_step, sample_time_step, time_step_of

ALL = [TensorSpec(name, (), dtype) for name, dtype in TIME_STEP.items()]


def values(arrays: dict[str, Any]) -> dict[str, float]:
    return {name: array.item() for name, array in arrays.items()}


def test_what_a_caller_does_not_give_is_neutral() -> None:
    """No reward, no end, within an episode; each in its own dtype."""
    read = read_time_step({"reward": 2.5}, ALL)
    assert values(read) == {"reward": 2.5, "discount": 1.0, "step_type": 1}
    assert {name: str(array.dtype) for name, array in read.items()} == TIME_STEP
    assert values(read_time_step({"reward": np.array([[2.5]])}, ALL)) == values(read)
    assert values(neutral_time_step(ALL[1:], 1)) == {"discount": 1.0, "step_type": 1}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reward": 1.0}, "time_step.reward: expected nothing: the policy reads step_type, got it"),
        ({"step_type": 3}, r"time_step.step_type: expected 0 \(first\), 1 \(mid\) or 2 \(last\), got 3"),
        ({"step_type": -1}, "expected 0 .first., 1 .mid. or 2 .last., got -1"),
        ({"step_type": 0.5}, "time_step.step_type: expected int32, got 0.5"),
        ({"step_type": float("nan")}, "time_step.step_type: expected int32, got NaN"),
        ({"step_type": None}, "time_step.step_type: expected int32, got null"),
        ({"step_type": [1]}, "time_step.step_type: expected int32, got an array of 1"),
        ({"step_type": np.array([[5]])}, r"expected 0 \(first\), 1 \(mid\) or 2 \(last\), got 5"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(given: dict[str, Any], says: str) -> None:
    """In one sentence."""
    with pytest.raises(SpecViolated, match=says):
        read_time_step(given, ALL[2:])


def test_the_first_step_of_an_episode_has_no_reward() -> None:
    """The reward is that of the action before."""
    assert time_step_of(ALL, 5.0, first=True) == {"reward": 0.0, "discount": 1.0, "step_type": 0}
    assert time_step_of(ALL, 5.0, first=False) == {"reward": 5.0, "discount": 1.0, "step_type": 1}
    assert time_step_of(ALL[:1], 5.0, first=False) == {"reward": 5.0}


def test_samples_are_of_every_kind() -> None:
    """Both discounts, all step types, rewards of either sign."""
    rows = sample_time_step(ALL, 100, np.random.default_rng(0))
    assert set(rows["discount"]) == {0, 1}
    assert set(rows["step_type"]) == {0, 1, 2}
    assert rows["reward"].min() < 0 < rows["reward"].max()
