"""DQN's learner: what a block of updates does to the Q-network."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.factory import make_replay
from rlway_train.agents.learner import TrainingDiverged
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain

SETTINGS = DqnSettings(hidden=(16,), block_steps=32, block_iterations=20, batch_size=32, learning_rate=1e-2)
REWARD, GAMMA = 1.0, 0.5
COLUMNS = TransitionColumns(obs_dim=2, action_dim=1)

DOMAIN = Domain(
    env="two states",
    spec=EnvSpec("Imagined-v0"),
    leaves=[TensorSpec("observation", (2,), "float32")],
    action=TensorSpec("action", (), "int64", 0, 1),
    discretize=None,
    action_values=None,
)


def learner(**changes: object) -> DqnLearner:
    settings = DqnSettings(**({name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | changes))
    return DqnLearner(settings, DOMAIN, 1, make_replay(settings, COLUMNS.width))


def transitions(discount: float) -> FloatArray:
    """A state that leads to itself and pays 1, whatever the action."""
    state, rewards, discounts = np.ones((32, 2)), np.full(32, REWARD), np.full(32, discount)
    return COLUMNS.join(state, np.arange(32) % 2, rewards, discounts, state).astype(np.float32)


@pytest.mark.parametrize(("discount", "worth"), [(0.0, REWARD), (1.0, REWARD / (1 - GAMMA))])
def test_a_discount_of_zero_ends_the_sum_of_rewards(discount: float, worth: float) -> None:
    """A terminal step is worth its reward; an endless state is worth the geometric sum."""
    learning = learner(gamma=GAMMA, target_period=1, target_tau=0.1)
    for _ in range(20):
        learning.learn(transitions(discount), step=0)
    q_values = learning.policy().q_values(np.ones((1, 2), np.float32))
    np.testing.assert_allclose(q_values, worth, atol=0.1)


def test_compiled_updates_are_the_uncompiled_ones() -> None:
    """XLA changes the speed of a block, not what it learns."""
    compiled, plain = learner(xla=True), learner(xla=False)
    losses = [[agent.learn(transitions(1.0), 0) for _ in range(3)] for agent in (compiled, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    for one, other in zip(compiled.policy().layers, plain.policy().layers, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.1), (5_000, 0.06), (10_000, 0.02), (50_000, 0.02)])
def test_the_learning_rate_falls_linearly_and_then_stays(step: int, rate: float) -> None:
    """An update at that step changes the weights as one with that constant rate does."""
    falling = {"learning_rate": 0.1, "learning_rate_end": 0.02, "learning_rate_steps": 10_000}
    one, other = (learner(optimizer="sgd", xla=False, **rates) for rates in (falling, {"learning_rate": rate}))
    one.learn(transitions(1.0), step)
    other.learn(transitions(1.0), step)
    for falls, stays in zip(one.policy().layers, other.policy().layers, strict=True):
        np.testing.assert_allclose(falls, stays, rtol=1e-5, atol=1e-7)


def test_the_numpy_policy_is_the_network() -> None:
    """The weights of the numpy policy are those that are exported."""
    learning = learner(hidden=(16, 8))
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    exported = learning.act()(observations, np.zeros((50, 2), np.float32))
    np.testing.assert_allclose(learning.policy().q_values(observations), exported["q_values"], atol=1e-6)
    np.testing.assert_array_equal(learning.policy().act(observations), exported["action"])


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    """The training stops with a sentence that says what to change."""
    with pytest.raises(TrainingDiverged, match="learning-rate"):
        learner(gradient_clip=None, loss="squared").learn(transitions(1.0) * 1e30, 0)
