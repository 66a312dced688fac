"""Collected transitions: how steps end, and what follows them."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.collect.collector import LocalCollector
from rlway_train.collect.transition import TransitionColumns
from rlway_train.envs.domain import find_domain
from rlway_train.envs.vector import Environments
from rlway_train.policies.numpy import UniformPolicy
from tests.policies import Always, Counting

COUNTING = "rlway-tests/Counting-v0"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def counting(mode: AutoresetMode, n: int) -> LocalCollector:
    vector = SyncVectorEnv([lambda: gymnasium.make(COUNTING)] * n, autoreset_mode=mode)
    return LocalCollector(Environments(COUNTING, vector), seed=0)


def columns(rows: FloatArray) -> tuple[AnyArray, ...]:
    """Observation, action, reward, discount, successor."""
    of = TransitionColumns(obs_dim=2, action_dim=1)
    return tuple(rows[:, of_it] for of_it in (of.observation, of.action.start, of.reward, of.discount, of.successor))


@pytest.mark.parametrize("mode", MODES)
def test_only_termination_removes_the_value_of_the_successor(mode: AutoresetMode) -> None:
    """The discount is 0 after a terminated step, and 1 after any other, a truncated one included."""
    observation, _, _, discount, successor = columns(counting(mode, 2).collect(Always(1), 60))
    terminated = (observation[:, 0] % 2 == 1) & (successor[:, 1] == 3)
    truncated = (observation[:, 0] % 2 == 0) & (successor[:, 1] == 3)
    assert terminated.sum() >= 5
    assert truncated.sum() >= 5
    np.testing.assert_array_equal(discount, np.where(terminated, 0.0, 1.0))


@pytest.mark.parametrize("mode", MODES)
def test_no_transition_leads_across_a_reset(mode: AutoresetMode) -> None:
    """Every successor is the next step of the same episode, even at its end."""
    observation, action, reward, _, successor = columns(counting(mode, 3).collect(Always(1), 90))
    np.testing.assert_array_equal(successor - observation, np.tile([0, 1], (90, 1)))
    np.testing.assert_array_equal(reward, 1 + successor[:, 1])
    np.testing.assert_array_equal(action, 1)


@pytest.mark.parametrize("mode", MODES)
def test_blocks_hold_what_was_asked_for_and_lose_nothing_between_them(mode: AutoresetMode) -> None:
    """Blocks of a size that does not divide evenly join into whole episodes."""
    collector = counting(mode, 4)
    blocks = [collector.collect(Always(1), 7) for _ in range(12)]
    assert [len(block) for block in blocks] == [7] * 12
    steps, counts = np.unique(np.concatenate(blocks)[:, :2], axis=0, return_counts=True)
    whole = counts[steps[:, 0] < 6]
    np.testing.assert_array_equal(whole, 4)  # each of 4 environments passed through each step once


def test_the_returns_of_finished_episodes_are_known() -> None:
    """Three steps that pay 2, 3 and 4 return 9."""
    collector = counting(AutoresetMode.NEXT_STEP, 2)
    collector.collect(Always(1), 30)
    assert collector.returns
    assert set(collector.returns) == {9.0}


def test_resets_of_the_vectorised_cartpole_are_no_transitions() -> None:
    """A reset is a step of its own, and no transition."""
    collector = LocalCollector(find_domain("CartPole-v1").make_many(8), seed=3)
    rows = collector.collect(Always(1), 400)
    of = TransitionColumns(obs_dim=4, action_dim=1)
    observation, successor, discount = rows[:, of.observation], rows[:, of.successor], rows[:, of.discount]
    moved = observation[:, 0] + 0.02 * observation[:, 1]  # CartPole's own step of the cart's position
    np.testing.assert_allclose(successor[:, 0], moved, atol=1e-5)
    fell = (np.abs(successor[:, 2]) > 12 * np.pi / 180) | (np.abs(successor[:, 0]) > 2.4)
    assert fell.sum() > 20
    np.testing.assert_array_equal(discount == 0, fell)


def test_a_continuous_action_is_recorded_as_it_was_taken() -> None:
    """Every number of the action has its column, and the environment got the same numbers."""
    domain = find_domain("rlway-tests/Echo-v0", continuous=True)
    low, high = (bound.astype(np.float32) for bound in domain.action.bounds())
    collector = LocalCollector(domain.make_many(3), seed=0)
    rows = collector.collect(UniformPolicy(low, high, np.random.default_rng(0)), 90)
    of = TransitionColumns(obs_dim=2, action_dim=2)
    assert rows.shape == (90, of.width)
    taken, successor = rows[:, of.action], rows[:, of.successor]
    np.testing.assert_array_equal(taken, successor)
    assert (taken.min(axis=0) < low + 0.1 * (high - low)).all()
    assert (taken.max(axis=0) > high - 0.1 * (high - low)).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_policy_state_follows_one_episode(mode: AutoresetMode) -> None:
    """It continues from step to step and from block to block, and is reset when an episode begins."""
    policy, collector = Counting(), counting(mode, 3)
    for _ in range(6):
        collector.collect(policy, 10)
    assert len(policy.seen) >= 20
    for observations, steps in policy.seen:
        acted = observations[:, 1] < 3  # where an episode ended, its last observation is shown but not acted on
        np.testing.assert_array_equal(steps[acted], observations[acted, 1])
