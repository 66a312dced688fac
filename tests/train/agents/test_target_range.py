"""Clipped targets: the range holds every return that is possible, and Q-values do not run away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import UsageError
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.target_range import TargetRange
from rlway_train.config.settings import DqnSettings
from rlway_train.config.validation import checked
from tests.train.agents.test_dqn import COLUMNS, learner

REWARDS = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30)
GAMMA = 0.9
HIGHEST = 1 / (1 - GAMMA)  # of the returns of rewards of 1


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(REWARDS, st.floats(0, 0.99), st.integers(1, 4), st.sampled_from([0.1, 1.0, 50.0]))
def test_every_return_lies_within_the_range(rewards: list[float], gamma: float, n: int, scale: float) -> None:
    """Rows sum n rewards, or fewer at the end of the episode."""
    returns = TargetRange(gamma**n, scale)
    sums = [sum(gamma**k * r for k, r in enumerate(rewards[t : t + n])) for t in range(len(rewards))]
    returns.observe(np.array(sums, np.float32))
    lowest, highest = (float(bound) for bound in returns.bounds())
    tolerance = 1e-4 * scale * (1 + max(map(abs, rewards)) / (1 - gamma))
    for t in range(len(rewards)):
        worth = scale * sum(gamma**k * r for k, r in enumerate(rewards[t:]))
        assert lowest - tolerance <= worth <= highest + tolerance


def runaway(learning: DqnLearner) -> float:
    """The Q-value of a state whose successor lies three times as far out, where no experience is."""
    state = np.ones((32, 2))
    rows = COLUMNS.join(state, np.arange(32) % 2, np.ones(32), np.ones(32), 3 * state).astype(np.float32)
    for _ in range(30):
        learning.learn(rows, step=0)
    return float(learning.policy().q_values(np.ones((1, 2), np.float32)).max())


def test_q_values_run_away_only_without_the_range() -> None:
    """The network extrapolates beyond any return, and its targets follow, unless they are clipped."""
    settings = {"gamma": GAMMA, "target_period": 1, "target_tau": 0.1, "loss": "squared", "xla": False}
    assert runaway(learner(**settings)) > 2 * HIGHEST
    assert runaway(learner(**settings, clip_targets=True)) == pytest.approx(HIGHEST, rel=0.05)


def test_a_resumed_training_knows_the_range(tmp_path: Path) -> None:
    """The rewards that set it may have left the replay."""
    first, resumed = learner(clip_targets=True), learner(clip_targets=True)
    row = COLUMNS.join(np.ones((32, 2)), np.zeros(32), np.full(32, 7.0), np.ones(32), np.ones((32, 2)))
    first.learn(row.astype(np.float32), step=0)
    first.save(tmp_path)
    resumed.restore(tmp_path)
    assert first._target_range is not None
    assert resumed._target_range is not None
    assert [float(bound) for bound in resumed._target_range.bounds()] == pytest.approx([7.0, 700.0])


def test_without_a_discount_there_is_no_range() -> None:
    with pytest.raises(UsageError, match="--gamma below 1"):
        checked(DqnSettings(clip_targets=True, gamma=1.0))
