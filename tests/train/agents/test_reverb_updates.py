"""Updates from Reverb: their effects on the agent and on the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reverb
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.factory import make_replay
from rlway_train.agents.learner import TrainingDiverged
from rlway_train.agents.sac import SacLearner
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.settings import DqnSettings, SacSettings
from rlway_train.envs.domain import Domain
from rlway_train.replay.reverb import ROWS, ReverbReplay

pytestmark = pytest.mark.slow

REWARD, GAMMA = 1.0, 0.5
COLUMNS = TransitionColumns(obs_dim=2, action_dim=1)


def domain(action: TensorSpec) -> Domain:
    return Domain(
        env="two states",
        spec=EnvSpec("Imagined-v0"),
        leaves=[TensorSpec("observation", (2,), "float32")],
        action=action,
        discretize=None,
        action_values=None,
    )


DISCRETE, CONTINUOUS = (
    domain(TensorSpec("action", (), "int64", 0, 1)),
    domain(TensorSpec("action", (1,), "float32", -1.0, 1.0)),
)


@pytest.fixture
def dqn(tmp_path: Path) -> Iterator[Any]:
    """Makes DQN learners that learn from Reverb."""
    made: list[DqnLearner] = []

    def making(**changes: Any) -> DqnLearner:
        usual = {"hidden": (16,), "block_steps": 32, "block_iterations": 20, "batch_size": 32, "learning_rate": 1e-2}
        settings = DqnSettings(replay="reverb", initial_steps=0, gamma=GAMMA, **usual | changes)  # type: ignore[arg-type]
        made.append(DqnLearner(settings, DISCRETE, 1, make_replay(settings, COLUMNS.width)))
        made[-1].begin(tmp_path, [])
        return made[-1]

    yield making
    for one in made:
        one.close()


def transitions(discount: float, reward: float = REWARD, n: int = 32) -> FloatArray:
    """A state that leads to itself and pays the reward, whatever the action."""
    state, rewards, discounts = np.ones((n, 2)), np.full(n, reward), np.full(n, discount)
    return COLUMNS.join(state, np.arange(n) % 2, rewards, discounts, state).astype(np.float32)


@pytest.mark.parametrize("selector", ["uniform", "prioritized"])
@pytest.mark.parametrize(("discount", "worth"), [(0.0, REWARD), (1.0, REWARD / (1 - GAMMA))])
def test_values_are_learned_from_reverb(dqn: Any, selector: str, discount: float, worth: float) -> None:
    """A terminal step is worth its reward; an endless state is worth the geometric sum."""
    learning = dqn(selector=selector, target_period=1, target_tau=0.1)
    for _ in range(20):
        learning.learn(transitions(discount), step=0)
    assert learning.iterations == 400
    q_values = learning.policy().q_values(np.ones((1, 2), np.float32))
    np.testing.assert_allclose(q_values, worth, atol=0.1)


def test_the_loss_of_a_block_is_the_mean_of_its_updates(dqn: Any) -> None:
    """At a learning rate of almost 0 every update has the same loss, whatever their number."""
    rows = transitions(0.0)
    losses = [dqn(block_iterations=n, learning_rate=1e-12, loss="squared").learn(rows, 0) for n in (1, 7)]
    learner = dqn(learning_rate=1e-12)
    q_values = learner.policy().q_values(np.ones((1, 2), np.float32))[0]
    # Half of the rows take each action, but a batch of 32 may have more of one than of the other.
    low, high = sorted((REWARD - q_values) ** 2)
    assert all(low - 1e-5 <= loss <= high + 1e-5 for loss in losses)


def test_priorities_are_td_errors(dqn: Any) -> None:
    """After a block each row's priority is its TD error; the one row that pays more than all others has the largest."""
    rows = transitions(0.0)
    rows[0, COLUMNS.reward] = 100.0
    learner = dqn(selector="prioritized", learning_rate=1e-12, block_iterations=40, loss="squared")
    learner.learn(rows, 0)
    q_values = learner.policy().q_values(np.ones((1, 2), np.float32))[0]
    expected = np.abs(rows[:, COLUMNS.reward] - q_values[rows[:, COLUMNS.action.start].astype(int)])
    assert isinstance(learner.replay, ReverbReplay)
    for sample in reverb.Client(learner.replay.address).sample(ROWS, 200, emit_timesteps=False):
        row = np.flatnonzero((rows == sample.data[0]).all(axis=1))[0]
        assert sample.info.priority == pytest.approx(max(expected[row], 1e-3), rel=1e-4)
    assert learner.replay.priority == pytest.approx(expected.max(), rel=1e-4)


def test_sac_learns_from_reverb(tmp_path: Path) -> None:
    """Where the reward is the action itself, the policy learns to take the largest."""
    settings = SacSettings(
        replay="reverb",
        hidden=(32,),
        gamma=0.0,
        learning_rate=3e-3,
        batch_size=64,
        block_steps=20,
        block_iterations=20,
        initial_steps=500,
        initial_alpha=0.01,
    )
    learner = SacLearner(settings, CONTINUOUS, 1, make_replay(settings, COLUMNS.width))
    learner.begin(tmp_path, [])
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (700, 1))
    state = np.ones((700, 2))
    rows = COLUMNS.join(state, action, action[:, 0], np.zeros(700), state).astype(np.float32)
    learner.replay.write(rows[:500])
    for first in range(500, 700, 20):
        learner.learn(rows[first : first + 20], 0)
    learner.close()
    assert learner.iterations == 200
    assert learner.policy().act(np.ones((1, 2), np.float32))[0, 0] > 0.8


def test_a_loss_that_is_not_finite_stops_the_training(dqn: Any) -> None:
    """The same as with the replay in the graph."""
    with pytest.raises(TrainingDiverged, match="learning-rate"):
        dqn(gradient_clip=None, loss="squared").learn(transitions(1.0, reward=1e30), 0)


def test_tensorboard_has_the_updates_per_second(dqn: Any, tmp_path: Path) -> None:
    """TF-Agents' own trigger writes it beside the losses."""
    learning = dqn(block_iterations=600)
    for _ in range(2):
        learning.learn(transitions(0.0), step=0)
    learning._learn._tf_agents_learner.train_summary_writer.flush()
    tags = {
        value.tag
        for file in (tmp_path / "train").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert "RunTime/train_steps_per_sec" in tags


MIRRORED = """
import tempfile
from pathlib import Path
from rlway_train.common.quiet import quiet_libraries
quiet_libraries()
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from tests.train.agents.test_reverb_updates import COLUMNS, DISCRETE, transitions
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.factory import make_replay
from rlway_train.config.settings import DqnSettings
settings = DqnSettings(
    replay="reverb", selector="prioritized", hidden=(16,), block_steps=32, block_iterations=20, batch_size=32,
    learning_rate=1e-2, initial_steps=0, gamma=0.5, target_period=1, target_tau=0.1,
)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
with strategy.scope():
    learner = DqnLearner(settings, DISCRETE, 1, make_replay(settings, COLUMNS.width))
learner.begin(Path(tempfile.mkdtemp()), [])
for _ in range(20):
    learner.learn(transitions(1.0), 0)
print(strategy.num_replicas_in_sync, learner.iterations, *learner.policy().q_values(np.ones((1, 2), np.float32))[0])
for variable in learner.agent._q_network.variables:
    one, other = variable.values
    assert (one.numpy() == other.numpy()).all()
learner.close()
"""


def test_two_devices_share_each_batch_and_agree() -> None:
    """On two mirrored devices an update counts once, both copies stay equal, and the values are the same."""
    command = [sys.executable, "-c", MIRRORED]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    replicas, iterations, *q_values = map(float, done.stdout.split())
    assert (replicas, iterations) == (2, 400)
    np.testing.assert_allclose(q_values, REWARD / (1 - GAMMA), atol=0.1)
