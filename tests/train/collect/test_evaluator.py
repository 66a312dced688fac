"""Evaluations: what they count, and that no two purposes share episodes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from rlway_train.collect.evaluator import Evaluator
from rlway_train.common.seeds import RANGE_BITS, ROOM, Purpose, seed_for
from rlway_train.envs.domain import find_domain
from rlway_train.envs.vector import Environments
from rlway_train.envs.wrappers import OneEpisode
from rlway_train.policies.numpy import EpsilonGreedyPolicy, GreedyPolicy, RandomPolicy
from tests.policies import Always, Counting


@pytest.mark.parametrize("episodes", [1, 4, 10])
def test_every_episode_counts_once_and_whole(episodes: int) -> None:
    """Each episode of three steps that pay 2, 3 and 4 returns 9, whatever the number of environments."""
    evaluator = Evaluator(find_domain("rlway-tests/Counting-v0").make_many(4))
    evaluation = evaluator.evaluate(Always(0), episodes, seed=0)
    assert evaluation.returns.tolist() == [9.0] * episodes
    assert evaluation.lengths.tolist() == [3] * episodes


def test_the_same_seed_plays_the_same_episodes() -> None:
    """An evaluation follows from its seed, whatever ran before it."""
    evaluator = Evaluator(find_domain("CartPole-v1").make_many(8))
    first = evaluator.evaluate(Always(0), 8, seed=4)
    other = evaluator.evaluate(Always(0), 8, seed=5)
    again = evaluator.evaluate(Always(0), 8, seed=4)
    np.testing.assert_array_equal(first.returns, again.returns)
    assert (first.returns != other.returns).any()


@pytest.mark.parametrize("together", [False, True])
def test_many_episodes_are_the_same_in_rounds_and_together(together: bool) -> None:
    """Cards drawn from seeds: one round of sixteen environments plays the episodes of two rounds of eight."""
    game = find_domain("rlway/CardGame-v0")
    played = Evaluator(game.make_many(8), game.make_many if together else None).evaluate(Always(0), 16, seed=4)
    assert played.lengths.tolist() == Evaluator(game.make_many(16)).evaluate(Always(0), 16, seed=4).lengths.tolist()


def test_an_environment_takes_no_steps_after_its_episode() -> None:
    """An evaluation takes no steps beyond its episodes, and has the same result as with environments that go on."""
    game, steps = find_domain("rlway/CardGame-v0"), []

    class Noted(gymnasium.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            steps.append(action)
            return super().step(action)

    resting = SyncVectorEnv([lambda: OneEpisode(Noted(game.make()))] * 8)
    evaluation = Evaluator(Environments("cards", resting)).evaluate(Always(0), 16, seed=4)
    going_on = Evaluator(game.make_many(8)).evaluate(Always(0), 16, seed=4)
    assert evaluation.lengths.tolist() == going_on.lengths.tolist()
    assert evaluation.returns.tolist() == going_on.returns.tolist()
    assert len(steps) == evaluation.lengths.sum()
    assert len(set(evaluation.lengths)) > 1


def test_an_observation_that_ended_an_episode_was_not_acted_on() -> None:
    """Visited observations are those that the policy acted on, spread over their episodes."""
    visited = Evaluator(find_domain("rlway-tests/Counting-v0").make_many(4)).visit(Always(0), 500, seed=0)
    assert visited.shape == (500, 2)
    assert set(visited[:, 1]) == {0.0, 1.0, 2.0}


def test_the_seeds_of_two_purposes_never_overlap() -> None:
    """The final evaluation plays other episodes than those that chose the checkpoint."""
    for root in range(50):
        for purpose in Purpose:
            seed = seed_for(root, purpose, turn=root)
            assert seed >> RANGE_BITS == (seed + ROOM - 1) >> RANGE_BITS == purpose
            assert 0 <= seed < 1 << 31


def test_epsilon_is_the_share_of_random_actions() -> None:
    """With two actions, half of the random ones are the greedy one by chance."""
    greedy = GreedyPolicy([np.zeros((1, 2), np.float32), np.array([1.0, 0.0], np.float32)])  # always action 0
    policy = EpsilonGreedyPolicy(greedy, RandomPolicy(2, np.random.default_rng(0)), epsilon=0.3)
    actions, _ = policy(np.zeros((20_000, 1), np.float32))
    assert actions.mean() == pytest.approx(0.15, abs=0.01)


def test_a_discretised_action_spans_the_whole_range() -> None:
    """Five actions of Pendulum's torque are −2, −1, 0, 1 and 2."""
    domain = find_domain("Pendulum-v1", discretize=5)
    env = domain.make()
    assert domain.n_actions == 5
    values = [env.action(i) for i in range(5)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.ravel(values), [-2, -1, 0, 1, 2])
    env.close()


def test_the_policy_state_of_an_evaluation_begins_with_each_episode() -> None:
    """Each episode of an evaluation begins with an empty state, also in the second round."""
    policy = Counting()
    Evaluator(find_domain("rlway-tests/Counting-v0").make_many(2)).evaluate(policy, 4, seed=0)
    assert [steps.tolist() for _, steps in policy.seen] == [[0, 0], [1, 1], [2, 2]] * 2
