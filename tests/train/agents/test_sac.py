"""SAC's learner: what it learns, and that its policy is the same in TensorFlow, in numpy and as `act`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.trajectories import TimeStep

from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.factory import make_replay
from rlway_train.agents.learner import TrainingDiverged
from rlway_train.agents.sac import SacLearner
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.settings import SacSettings
from rlway_train.envs.domain import Domain

pytestmark = pytest.mark.slow

SETTINGS = SacSettings(hidden=(16, 8), block_steps=64, block_iterations=40, batch_size=32, learning_rate=1e-2)
LOW, HIGH = np.array([-1.0, -2.0], np.float32), np.array([3.0, 0.0], np.float32)
DOMAIN = Domain(
    env="three numbers",
    spec=EnvSpec("Imagined-v0"),
    leaves=[TensorSpec("observation", (3,), "float32")],
    action=TensorSpec("action", (2,), "float32", LOW.tolist(), HIGH.tolist()),
    discretize=None,
    action_values=None,
)
OBSERVATIONS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
BEST = np.array([2.0, -1.5], np.float32)
COLUMNS = TransitionColumns(obs_dim=3, action_dim=2)


def learner(seed: int = 1, **changes: object) -> SacLearner:
    settings = SacSettings(**({name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | changes))
    return SacLearner(settings, DOMAIN, seed, make_replay(settings, COLUMNS.width))


def bandit(rng: np.random.Generator) -> FloatArray:
    """Steps that end at once. The farther their action is from `BEST`, the less they pay."""
    action = rng.uniform(LOW, HIGH, (64, 2))
    reward = -10 * np.square(action - BEST).sum(axis=1)
    state = np.ones((64, 3))
    return COLUMNS.join(state, action, reward, np.zeros(64), state).astype(np.float32)


def time_steps(observations: AnyArray) -> TimeStep:
    n = len(observations)
    return TimeStep(tf.ones([n], tf.int32), tf.zeros([n]), tf.ones([n]), tf.constant(observations))


def test_the_actor_finds_the_action_that_pays_most() -> None:
    """The greedy action is the best one, so every column of a row is read as what it is."""
    learning, rng = learner(), np.random.default_rng(0)
    for _ in range(40):
        learning.learn(bandit(rng), step=0)
    np.testing.assert_allclose(learning.policy().act(np.ones((1, 3), np.float32))[0], BEST, atol=0.3)


def test_the_numpy_policy_is_the_actor() -> None:
    """Location and scale are those of TF-Agents' projection network, and so is the greedy action."""
    learning = learner()
    loc, scale = learning.policy().distribution(OBSERVATIONS)
    squashed: Any = learning.agent.collect_policy.distribution(time_steps(OBSERVATIONS)).action
    np.testing.assert_allclose(loc, squashed.input_distribution.mean(), atol=1e-6)
    np.testing.assert_allclose(scale, squashed.input_distribution.stddev(), rtol=1e-5)
    greedy = GreedyPolicy(learning.agent.policy).action(time_steps(OBSERVATIONS)).action
    np.testing.assert_allclose(learning.policy().act(OBSERVATIONS), greedy, atol=1e-6)


def test_zero_noise_is_the_greedy_action() -> None:
    """`act` without noise returns what TF-Agents' greedy policy does."""
    learning = learner()
    acted = learning.act()(OBSERVATIONS, np.zeros((50, 2), np.float32))
    greedy = GreedyPolicy(learning.agent.policy).action(time_steps(OBSERVATIONS)).action
    np.testing.assert_allclose(acted["action"], greedy, atol=1e-6)


def test_an_observation_from_far_away_still_has_an_action() -> None:
    """Where the scale overflows, the greedy action is still finite in both forms, and so is a sample."""
    learning, far = learner(), OBSERVATIONS * np.float32(1e6)
    acted = {name: value.numpy() for name, value in learning.act()(far, np.zeros((50, 2), np.float32)).items()}
    assert (acted["scale"] == np.float32(1e9)).any()
    np.testing.assert_allclose(acted["action"], learning.policy().act(far), atol=1e-6)
    sampled = learning.exploring(0)(far)[0]
    assert ((sampled >= LOW) & (sampled <= HIGH)).all()


@pytest.mark.parametrize("source", ["act", "numpy"])
def test_normal_noise_samples_the_collect_policy(source: str) -> None:
    """Actions from standard normal noise, and collected ones, have the distribution of TF-Agents' own samples."""
    n = 40_000
    learning, one = learner(), np.repeat(OBSERVATIONS[:1], n, axis=0)
    tf.random.set_seed(3)
    expected = learning.agent.collect_policy.action(time_steps(one)).action.numpy()
    noise = np.random.default_rng(4).standard_normal((n, 2), np.float32)
    found = learning.act()(one, noise)["action"].numpy() if source == "act" else learning.exploring(0)(one)[0]
    shares = np.linspace(0.05, 0.95, 19)
    difference = np.quantile(found, shares, axis=0) - np.quantile(expected, shares, axis=0)
    assert np.abs(difference / (HIGH - LOW)).max() < 0.02
    assert np.abs(np.corrcoef(found.T)[0, 1]) < 0.02


def test_the_same_seed_learns_the_same_policy() -> None:
    """The random numbers that SAC uses in its updates follow from the seed, too."""
    trained = []
    for seed in (1, 1, 2):
        learning, rng = learner(seed), np.random.default_rng(0)
        for _ in range(3):
            learning.learn(bandit(rng), 0)
        trained.append(np.concatenate([layer.ravel() for layer in learning.policy().layers]))
    np.testing.assert_array_equal(trained[0], trained[1])
    assert (trained[0] != trained[2]).any()


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    """Where TF-Agents itself stops first, it is the same sentence, which says what to change."""
    with pytest.raises(TrainingDiverged, match="learning-rate"):
        learner().learn(bandit(np.random.default_rng(0)) * np.float32(1e30), 0)
