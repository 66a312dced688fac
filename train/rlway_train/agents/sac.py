"""TF-Agents' SAC as a learner.

In:      transitions, with one column for each dimension of the action.
Out:     the actor's weights in numpy; `act`: mean + magnitude · tanh(loc + scale · noise).

Actor, critics, losses and the adjustment of the temperature are TF-Agents' own, put together as in its SAC tutorial.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.agents.ddpg.critic_network import CriticNetwork
from tf_agents.agents.sac.sac_agent import SacAgent
from tf_agents.agents.sac.tanh_normal_projection_network import TanhNormalProjectionNetwork
from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition, time_step_spec

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.agents.learner import Learner
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.settings import SacSettings
from rlway_train.envs.domain import Domain
from rlway_train.policies.exploration import ExplorationLevel
from rlway_train.policies.numpy import LARGEST_SCALE, GaussianPolicy
from rlway_train.replay.base import Replay


class SacLearner(Learner[SacSettings]):
    """A SAC agent with its replay."""

    algorithm = "sac"

    def __init__(self, settings: SacSettings, domain: Domain, seed: int, replay: Replay) -> None:
        super().__init__(settings, domain, seed, replay)
        self._low, self._high = (bound.astype(np.float32).ravel() for bound in domain.action.bounds())
        vector = tf.TensorSpec([self.obs_dim], tf.float32, "observation")
        action = BoundedTensorSpec([self.action_dim], tf.float32, self._low, self._high, "action")
        self._network = self._preprocessed(lambda: self._make_actor(vector, action), self.preprocessing.spec)
        self.agent = self._make_agent(vector, action)
        self.agent.initialize()
        self._compile()

    @cached_property
    def columns(self) -> TransitionColumns:
        return TransitionColumns(self.obs_dim, self.action_dim)

    def _make_actor(self, vector: Any, action: Any) -> ActorDistributionNetwork:
        return ActorDistributionNetwork(
            vector,
            action,
            fc_layer_params=self.settings.hidden,
            continuous_projection_net=TanhNormalProjectionNetwork,
        )

    def _make_critic(self, vector: Any, action: Any) -> CriticNetwork:
        return CriticNetwork(
            (vector, action),
            joint_fc_layer_params=self.settings.hidden,
            kernel_initializer="glorot_uniform",
            last_kernel_initializer="glorot_uniform",
        )

    def _make_agent(self, vector: Any, action: Any) -> SacAgent:
        settings, observation = self.settings, self.preprocessing.spec
        critic = self._preprocessed(lambda: self._make_critic(vector, action), (observation, action))
        # A version 1 optimizer updates a variable in one fused operation; a Keras optimizer takes a dozen.
        optimizers = {
            f"{name}_optimizer": tf.compat.v1.train.AdamOptimizer(self._learning_rate)
            for name in ("actor", "critic", "alpha")
        }
        return SacAgent(
            time_step_spec(observation),
            action,
            actor_network=self._network,
            critic_network=critic,
            target_update_tau=settings.target_tau,
            target_update_period=settings.target_period,
            td_errors_loss_fn=tf.math.squared_difference,
            gamma=settings.gamma,
            reward_scale_factor=settings.reward_scale,
            initial_log_alpha=float(np.log(settings.initial_alpha)),
            target_entropy=settings.target_entropy,
            gradient_clipping=settings.gradient_clip,
            train_step_counter=self.train_step,
            **optimizers,
        )

    @property
    def noise(self) -> TensorSpec:
        return TensorSpec("noise", (self.action_dim,), "float32")

    @property
    def outputs(self) -> list[TensorSpec]:
        return [TensorSpec(name, (self.action_dim,), "float32") for name in ("loc", "scale")]

    @property
    def _mean(self) -> Any:  # [action_dim]
        return (self._high + self._low) / 2

    @property
    def _magnitude(self) -> Any:  # [action_dim]
        return (self._high - self._low) / 2

    def policy(self, weights: list[FloatArray] | None = None) -> GaussianPolicy:
        return GaussianPolicy(self.weights() if weights is None else weights, self._mean, self._magnitude)

    def exploration_level(self, step: int) -> ExplorationLevel:  # noqa: ARG002
        return ExplorationLevel("α", "alpha", float(np.exp(self.agent._log_alpha.numpy())))

    def _transition(self, rows: Any) -> Transition:  # [batch, width]
        columns = self.columns
        # A row is one step within an episode. The discount alone says whether the task terminated.
        middle = tf.fill([rows.shape[0]], StepType.MID)
        reward, discount = rows[:, columns.reward], rows[:, columns.discount]
        return Transition(
            TimeStep(middle, reward, discount, self.preprocessing.unpack(rows[:, columns.observation])),
            PolicyStep(rows[:, columns.action], (), ()),
            TimeStep(middle, reward, discount, self.preprocessing.unpack(rows[:, columns.successor])),
        )

    def act(self) -> Any:
        actor, mean, magnitude, shape = self._network, self._mean, self._magnitude, self._domain.action.shape

        def act(observation: Any, noise: Any) -> dict[str, Any]:
            squashed, _ = actor(observation, step_type=(), network_state=())
            normal = squashed.input_distribution.parameters
            loc, scale = normal["loc"], tf.minimum(normal["scale_diag"], LARGEST_SCALE)
            action = magnitude * tf.tanh(loc + scale * noise)
            # Most ranges are symmetric. For them, this adds nothing to the graph.
            action = action + mean if mean.any() else action
            shaped = action if len(shape) == 1 else tf.reshape(action, [-1, *shape])
            return {"action": shaped, "loc": loc, "scale": scale}

        return self._traced(act)
