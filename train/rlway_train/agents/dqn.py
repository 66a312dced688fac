"""TF-Agents' DQN as a learner.

In:      transitions, with the action's number in one column.
Out:     the Q-network's weights in numpy; `act`: argmax(q_values + noise), in the environment's own numbering.

A block of updates is one XLA program. Networks of this size take less time to compute than TensorFlow takes to start
each operation, so a compiled block is several times faster than the same block op by op.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DdqnAgent, DqnAgent
from tf_agents.networks.q_network import QNetwork
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition, time_step_spec
from tf_agents.utils import common

from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.learner import Learner
from rlway_train.agents.target_range import TargetRange
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain
from rlway_train.policies.exploration import DqnExploration, ExplorationLevel
from rlway_train.policies.numpy import GreedyPolicy
from rlway_train.replay.base import Replay

NEVER = 1 << 31  # iterations


class QLearner(Learner[DqnSettings]):
    """A DQN agent with its replay. A subclass makes the Q-network."""

    algorithm = "dqn"
    plain_agent: ClassVar[type[Any]] = DqnAgent
    double_agent: ClassVar[type[Any]] = DdqnAgent

    def __init__(self, settings: DqnSettings, domain: Domain, seed: int, replay: Replay) -> None:
        super().__init__(settings, domain, seed, replay)
        self.n_actions = domain.n_actions
        self._target_copies = 0
        self._target_range = TargetRange(settings.gamma, settings.reward_scale) if settings.clip_targets else None
        observation = self.preprocessing.spec
        action = BoundedTensorSpec([], tf.int64, 0, self.n_actions - 1, "action")
        vector = tf.TensorSpec([self.obs_dim], tf.float32, "observation")
        self._network = self._preprocessed(lambda: self._make_network(vector, action), observation)
        self.agent = self._make_agent(observation, action)
        self.agent.initialize()
        self._compile()

    @abstractmethod
    def _make_network(self, observation: Any, action: Any) -> Any:
        """A network from an observation, as a vector, to the Q-value of each action."""

    def _make_agent(self, observation: Any, action: Any) -> DqnAgent:
        settings = self.settings
        kind = self.double_agent if settings.double else self.plain_agent
        losses = {"huber": common.element_wise_huber_loss, "squared": common.element_wise_squared_loss}
        loss = losses[settings.loss]
        optimizers = {
            "adam": tf.compat.v1.train.AdamOptimizer,
            "sgd": tf.compat.v1.train.GradientDescentOptimizer,
        }
        return kind(
            time_step_spec(observation),
            action,
            q_network=self._network,
            # A version 1 optimizer updates a variable in one fused operation; a Keras optimizer takes a dozen.
            optimizer=optimizers[settings.optimizer](self._learning_rate),
            epsilon_greedy=settings.epsilon_end,
            target_update_tau=settings.target_tau,
            target_update_period=settings.target_period if settings.target_episodes is None else NEVER,
            td_errors_loss_fn=loss if self._target_range is None else self._target_range.clipped(loss),
            gamma=settings.gamma,
            reward_scale_factor=settings.reward_scale,
            gradient_clipping=settings.gradient_clip,
            train_step_counter=self.train_step,
        )

    def _observe(self, rows: AnyArray) -> None:
        super()._observe(rows)
        if self._target_range is not None:
            self._target_range.observe(*self.columns.rewards_and_discounts(rows))

    def _checkpointed(self) -> dict[str, Any]:
        own = {} if self._target_range is None else {"target_range": self._target_range}
        return super()._checkpointed() | own

    @property
    def noise(self) -> TensorSpec:
        return TensorSpec("noise", (self.n_actions,), "float32")

    @property
    def outputs(self) -> list[TensorSpec]:
        return [TensorSpec("q_values", (self.n_actions,), "float32")]

    def exploration_level(self, step: int) -> ExplorationLevel:
        assert isinstance(self.exploration, DqnExploration)
        return ExplorationLevel("ε", "epsilon", self.exploration.epsilon(step))

    def choose(self, scores: Any) -> Any:  # [n, n_actions] -> [n, …]
        """The action with the highest score, in the environment's own numbering and shape."""
        best, action = tf.argmax(scores, axis=-1, output_type=tf.int64), self._domain.action
        # Most environments count from 0 and take a plain number. For them, this adds nothing to the graph.
        if self._domain.first_action:
            best += self._domain.first_action
        return tf.reshape(best, [-1, *action.shape]) if action.shape else best

    def episodes_ended(self, n: int) -> None:
        every = self.settings.target_episodes
        if every is not None and n // every > self._target_copies:
            self.copy_target()
            self._target_copies = n // every

    def copy_target(self) -> None:
        """Copies the network to the target network now, whatever the period."""
        common.soft_variables_update(self._network.variables, self.agent._target_q_network.variables, tau=1.0)


class DqnLearner(QLearner):
    """Learns a network of dense layers from transitions."""

    @cached_property
    def columns(self) -> TransitionColumns:
        return TransitionColumns(self.obs_dim, self.action_dim)

    def _make_network(self, observation: Any, action: Any) -> QNetwork:
        return QNetwork(observation, action, fc_layer_params=self.settings.hidden)

    def policy(self, weights: list[FloatArray] | None = None) -> GreedyPolicy:
        return GreedyPolicy(self.weights() if weights is None else weights)

    def _write_and_update(self, rows: Any, seed: Any) -> Any:
        settings = self.settings
        if settings.online:
            return self._update(tf.reshape(rows, (settings.block_iterations, settings.batch_size, rows.shape[1])))
        return super()._write_and_update(rows, seed)

    def _transition(self, rows: Any) -> Transition:  # [batch, width]
        columns = self.columns
        # A row is one step within an episode. The discount alone says whether the task terminated.
        middle = tf.fill([rows.shape[0]], StepType.MID)
        reward, discount = rows[:, columns.reward], rows[:, columns.discount]
        return Transition(
            TimeStep(middle, reward, discount, self.preprocessing.unpack(rows[:, columns.observation])),
            PolicyStep(tf.cast(rows[:, columns.action.start], tf.int64), (), ()),
            TimeStep(middle, reward, discount, self.preprocessing.unpack(rows[:, columns.successor])),
        )

    def act(self) -> Any:
        network = self._network

        def act(observation: Any, noise: Any) -> dict[str, Any]:
            q_values, _ = network(observation)
            return {"action": self.choose(q_values + noise), "q_values": q_values}

        return self._traced(act)
