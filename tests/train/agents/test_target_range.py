"""Clipped targets: the range holds every return that is possible, and Q-values do not run away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import UsageError
from rlway_client.contract.specs import FloatArray
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.target_range import TargetRange
from rlway_train.collect.adders.n_step import NStepAdder
from rlway_train.collect.adders.sequence import SequenceAdder
from rlway_train.collect.transition import ImageColumns, SequenceColumns
from rlway_train.config.settings import DqnSettings
from rlway_train.config.validation import checked
from tests.train.agents.test_dqn import COLUMNS, learner

EPISODES = st.lists(
    st.tuples(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=12), st.booleans()), min_size=1, max_size=4
)
GAMMA = 0.9
HIGHEST = 1 / (1 - GAMMA)  # of the returns of rewards of 1


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(EPISODES, st.floats(0, 0.99), st.integers(1, 4), st.sampled_from([0.1, 1.0, 50.0]))
def test_every_target_and_every_return_lies_within_the_range(
    episodes: list[tuple[list[float], bool]], gamma: float, n: int, scale: float
) -> None:
    """Whether the task terminated or a time limit ended the episode, also in the middle of a sum of n rewards."""
    adder, rows = NStepAdder(n, gamma, 1, COLUMNS), []
    for rewards, terminated in episodes:
        for t, reward in enumerate(rewards):
            last = t + 1 == len(rewards)
            discount = np.array([0.0 if last and terminated else 1.0])
            row = COLUMNS.join(np.zeros((1, 2)), np.zeros(1), np.array([reward]), discount, np.zeros((1, 2)))
            rows.append(adder.add(row.astype(np.float32), np.array([last]), np.array([True])))
    targets = TargetRange(gamma, scale)
    targets.observe(*COLUMNS.rewards_and_discounts(np.concatenate(rows)))
    bounds = [float(bound) for bound in targets.bounds()]
    tolerance = 1e-4 * scale * (1 + 10 / (1 - gamma))
    for reward, discount in zip(*COLUMNS.rewards_and_discounts(np.concatenate(rows)), strict=True):
        for q_value in bounds:
            assert bounds[0] - tolerance <= scale * reward + gamma * discount * q_value <= bounds[1] + tolerance
    for rewards, terminated in episodes:
        for bound in [0.0] if terminated else bounds:
            worth = scale * sum(gamma**k * r for k, r in enumerate(rewards)) + gamma ** len(rewards) * bound
            assert bounds[0] - tolerance <= worth <= bounds[1] + tolerance


def test_the_bounds_of_images_and_sequences() -> None:
    """Their columns are laid out in other ways. A frame of a successor has no reward."""
    rewards, discounts = np.array([3.0, -2.0]), np.array([1.0, 0.0])
    images = ImageColumns(obs_dim=4, action_dim=1)
    rows = images.join(np.zeros((2, 4)), np.zeros(2), rewards, discounts, np.zeros((2, 4)))
    np.testing.assert_array_equal(images.rewards_and_discounts(rows), (rewards, discounts))

    sequences = SequenceColumns(2, obs_dim=2, action_dim=1)
    adder = SequenceAdder(1, sequences)
    done: list[FloatArray] = []
    for reward, discount in zip(rewards, discounts, strict=True):
        one = COLUMNS.join(np.zeros((1, 2)), np.zeros(1), np.array([reward]), np.array([discount]), np.zeros((1, 2)))
        done.append(adder.add(one.astype(np.float32), np.array([discount == 0]), np.array([True])))
    found = sequences.rewards_and_discounts(np.concatenate(done))
    assert set(zip(*(part.tolist() for part in found), strict=True)) <= {(3.0, 1.0), (-2.0, 0.0)}
    assert -2.0 in found[0]


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
    assert [float(bound) for bound in resumed._target_range.bounds()] == pytest.approx([700.0, 700.0])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gamma": 1.0}, "expected --gamma below 1, got 1.0"),
        ({"selector": "prioritized", "replay": "reverb"}, "uniform"),
    ],
)
def test_where_there_is_no_range_it_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=f"^--clip-targets: .*{says}"):
        checked(DqnSettings(clip_targets=True, **settings))
