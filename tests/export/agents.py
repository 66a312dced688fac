"""Agents and their checkpoints, as the tutorials of TF-Agents make them; `--agent` names these functions, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.networks.q_network import QNetwork
from tf_agents.networks.sequential import Sequential
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.specs.tensor_spec import sample_spec_nest
from tf_agents.train.learner import Learner
from tf_agents.trajectories import time_step_spec
from tf_agents.utils import common

from tests.export import stock

_layers = tf.keras.layers


def tutorial_dqn(units: tuple[int, ...] = (20, 10)) -> Any:
    """The agent of the DQN tutorial: a network of Keras layers."""
    initial = tf.keras.initializers
    dense = [
        _layers.Dense(n, tf.keras.activations.relu, kernel_initializer=initial.VarianceScaling(2.0, mode="fan_in"))
        for n in units
    ]
    values = _layers.Dense(3, None, kernel_initializer=initial.RandomUniform(-0.03, 0.03))
    return DqnAgent(
        time_step_spec(stock.VECTOR),
        stock.CHOICE,
        q_network=Sequential([*dense, values]),
        optimizer=tf.keras.optimizers.Adam(learning_rate=1e-3),
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0),
    )


def wider_dqn() -> Any:
    return tutorial_dqn((24, 10))


def deeper_dqn() -> Any:
    return tutorial_dqn((20, 10, 10))


def shallower_dqn() -> Any:
    """The first layers are those of the tutorial's; what follows is not."""
    return stock.dqn(QNetwork(stock.VECTOR, stock.CHOICE, fc_layer_params=(20,)))


def tutorial_sac() -> Any:
    return stock.agent("sac")


def initialized(make: Any) -> Any:
    """The agent, as trained: with weights that no other instance begins with."""
    stock.begin_alike()
    return stock.initialized(make())


def checkpointer(agent: Any, folder: Path) -> Callable[[int], None]:
    """As the DQN tutorial makes it, with replay buffer and step; it keeps the last checkpoint."""
    count = tf.Variable(0, dtype=tf.int64, name="global_step")
    replay = TFUniformReplayBuffer(agent.collect_data_spec, batch_size=1, max_length=10)
    saver = common.Checkpointer(
        ckpt_dir=str(folder), max_to_keep=1, agent=agent, policy=agent.policy, replay_buffer=replay, global_step=count
    )

    def save(step: int) -> None:
        count.assign(step)
        saver.save(count)

    return save


def checkpointed(agent: Any, folder: Path, step: int = 7) -> Path:
    """One checkpoint of the DQN tutorial's."""
    checkpointer(agent, folder)(step)
    return folder


def learned(agent: Any, root: Path) -> Path:
    """The checkpoints of a Learner after one iteration over random experience."""
    sampled = sample_spec_nest(agent.collect_data_spec, seed=1, outer_dims=[8, 2])
    experience = sampled._replace(reward=tf.zeros([8, 2]))  # they have no bounds
    learner = Learner(
        str(root),
        agent.train_step_counter,
        agent,
        experience_dataset_fn=lambda: tf.data.Dataset.from_tensors((experience, ())).repeat(),
        checkpoint_interval=1,
    )
    learner.run(iterations=1)
    return root / "train/checkpoints"
