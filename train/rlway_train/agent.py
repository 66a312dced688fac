"""TF-Agents' DQN, many updates in one TensorFlow call.

In:      transition rows float32[n, width], see collector.
Out:     the loss; the Q-network's weights as numpy; `act`, the function under which the policy is exported.
Refuses: TrainingDiverged once the loss is not finite.

The whole block of updates is one XLA program: at these sizes TensorFlow spends its time on starting operations, not on
arithmetic, and a block compiled as one runs several times faster than the same block op by op.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DdqnAgent, DqnAgent
from tf_agents.networks.q_network import QNetwork
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition, time_step_spec
from tf_agents.utils import common

from rlway_client.errors import RlwayError
from rlway_client.specs import FloatArray
from rlway_train.acting import GreedyPolicy, linear
from rlway_train.collector import row_width
from rlway_train.replay import Ring
from rlway_train.settings import DqnSettings

NEVER = 1 << 31  # iterations


class TrainingDiverged(RlwayError):
    """The loss left the finite numbers: no later update can mend the weights."""


class Learner:
    """A DQN agent with its replay."""

    def __init__(
        self, settings: DqnSettings, obs_dim: int, n_actions: int, network_seed: int, replay_seed: int
    ) -> None:
        tf.keras.utils.set_random_seed(network_seed)
        self.settings = settings
        self.obs_dim, self.n_actions = obs_dim, n_actions
        self.train_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="train_step")
        self.replay = Ring(settings.replay_capacity, row_width(obs_dim))
        self._learning_rate = tf.Variable(settings.learning_rate, trainable=False)
        self._replay_seed = replay_seed % (1 << 31)
        observation = tf.TensorSpec([obs_dim], tf.float32, "observation")
        action = BoundedTensorSpec([], tf.int64, 0, n_actions - 1, "action")
        self._network = QNetwork(observation, action, fc_layer_params=settings.hidden)
        self.agent = self._make_agent(observation, action)
        self.agent.initialize()
        width = row_width(obs_dim)
        self._update = tf.function(self._update_many, jit_compile=settings.xla)
        self._learn = tf.function(
            self._write_and_update,
            input_signature=[
                tf.TensorSpec([settings.block_steps, width], tf.float32),
                tf.TensorSpec([2], tf.int32),
            ],
        )

    def _make_agent(self, observation: Any, action: Any) -> DqnAgent:
        settings = self.settings
        kind = DdqnAgent if settings.double else DqnAgent
        losses = {"huber": common.element_wise_huber_loss, "squared": common.element_wise_squared_loss}
        optimizers = {
            "adam": tf.compat.v1.train.AdamOptimizer,
            "sgd": tf.compat.v1.train.GradientDescentOptimizer,
        }
        return kind(
            time_step_spec(observation),
            action,
            q_network=self._network,
            # A version 1 optimizer applies a whole variable in one fused operation; Keras' takes a dozen.
            optimizer=optimizers[settings.optimizer](self._learning_rate),
            epsilon_greedy=settings.epsilon_end,
            target_update_tau=settings.target_tau,
            target_update_period=settings.target_period if settings.target_episodes is None else NEVER,
            td_errors_loss_fn=losses[settings.loss],
            gamma=settings.gamma,
            gradient_clipping=settings.gradient_clip,
            train_step_counter=self.train_step,
        )

    @property
    def iterations(self) -> int:
        return int(self.train_step.numpy())

    def policy(self) -> GreedyPolicy:
        """The greedy policy with the weights of this moment."""
        return GreedyPolicy([variable.numpy() for variable in self._network.variables])

    def learn(self, rows: FloatArray, fraction: float) -> float:  # [block_steps, width]
        """Writes the rows, then runs `block_iterations` updates; `fraction` of the training is over. The mean loss."""
        settings = self.settings
        if settings.learning_rate_end is not None:
            self._learning_rate.assign(linear(settings.learning_rate, settings.learning_rate_end, fraction))
        before = self.iterations
        loss = float(self._learn(rows, [self._replay_seed, before]))
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss became {loss} within iterations {before} to {self.iterations}; "
                f"lower --learning-rate, or set --gradient-clip."
            )
        return loss

    def copy_target(self) -> None:
        """The target network becomes the network of this moment, whatever the period."""
        common.soft_variables_update(self._network.variables, self.agent._target_q_network.variables, tau=1.0)

    def _write_and_update(self, rows: Any, seed: Any) -> Any:
        shape = (self.settings.block_iterations, self.settings.batch_size)
        if self.settings.online:
            return self._update(tf.reshape(rows, (*shape, row_width(self.obs_dim))))
        self.replay.append(rows)
        return self._update(self.replay.sample(shape, seed))

    def _update_many(self, batches: Any) -> Any:  # [iterations, batch, width] -> []
        total = tf.constant(0.0)
        for i in tf.range(self.settings.block_iterations):
            total += self.agent.train(self._transition(batches[i])).loss
        return total / self.settings.block_iterations

    def _transition(self, rows: Any) -> Transition:  # [batch, width]
        d = self.obs_dim
        # A row is one step within an episode. DQN reads how the step ended from the discount alone.
        middle = tf.fill([self.settings.batch_size], StepType.MID)
        reward, discount = rows[:, d + 1], rows[:, d + 2]
        return Transition(
            TimeStep(middle, reward, discount, rows[:, :d]),
            PolicyStep(tf.cast(rows[:, d], tf.int64), (), ()),
            TimeStep(middle, reward, discount, rows[:, d + 3 :]),
        )

    def act(self) -> Any:
        """`act(observation, noise)`: the exported policy. Zero noise is the greedy action."""
        network = self._network

        @tf.function(  # type: ignore[untyped-decorator]
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, self.obs_dim], tf.float32, "observation"),
                tf.TensorSpec([None, self.n_actions], tf.float32, "noise"),
            ],
        )
        def act(observation: Any, noise: Any) -> dict[str, Any]:
            q_values, _ = network(observation)
            return {"action": tf.argmax(q_values + noise, axis=-1, output_type=tf.int64), "q_values": q_values}

        # The policy saver keeps what has been traced, so trace it now.
        act.get_concrete_function()
        return act
