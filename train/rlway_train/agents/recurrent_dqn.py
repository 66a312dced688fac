"""TF-Agents' DQN over sequences, for a recurrent policy.

In:      rows of `sequence_length` steps, see rlway_train.collect.adders.sequence.
Out:     the Q-network's weights in numpy; `act`: argmax(q_values + noise), with the policy state in and out: the
         LSTM's, and with `differences` the last observation.

The network is TF-Agents' QRnnNetwork: hidden layers, one LSTM, Q-values. Each sequence begins with a state of zeros, as
an episode does, but most sequences begin in the middle of one. Their first `burn_in` steps build up the state and are
not learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DdqnAgent, DqnAgent
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition

from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.differences import Differences
from rlway_train.agents.dqn import QLearner
from rlway_train.agents.recurrent_network import LAST_OBSERVATION_PARTS, DifferencesNetwork
from rlway_train.collect.transition import SequenceColumns
from rlway_train.policies.lstm import HEAD, LSTM, GreedyLstmPolicy


class FullSequenceTargets:
    """Computes the next Q-values with a state built up from the first frame of the sequence.

    TF-Agents' agents would unroll the target network from the second frame on, and so miss the first one.
    """

    def _compute_next_q_values(self, next_time_steps: TimeStep, info: Any) -> Any:  # -> [batch, transitions]
        values = super()._compute_next_q_values(next_time_steps, info)  # type: ignore[misc]
        return values[:, -next_time_steps.reward.shape[1] :]


class SequenceDqnAgent(FullSequenceTargets, DqnAgent):  # type: ignore[misc]  # TF-Agents carries no types
    """DQN over sequences."""


class SequenceDdqnAgent(FullSequenceTargets, DdqnAgent):  # type: ignore[misc]
    """Double DQN over sequences."""


class RecurrentDqnLearner(QLearner):
    """Learns a network with an LSTM from sequences."""

    plain_agent, double_agent = SequenceDqnAgent, SequenceDdqnAgent

    @cached_property
    def columns(self) -> SequenceColumns:
        return SequenceColumns(self.settings.sequence_length, self.obs_dim, self.action_dim)

    @cached_property
    def _differences(self) -> Differences | None:
        return Differences(self.obs_dim) if self.settings.differences else None

    def _preprocessed(self, make: Callable[[], Any], inputs: Any) -> Any:
        if self._differences is None:
            return super()._preprocessed(make, inputs)
        return DifferencesNetwork(make, self.preprocessing, self._differences, inputs)

    def _make_network(self, observation: Any, action: Any) -> QRnnNetwork:
        settings = self.settings
        if settings.differences:
            observation = tf.TensorSpec([2 * self.obs_dim], tf.float32, "observation_and_differences")
        return QRnnNetwork(
            observation,
            action,
            input_fc_layer_params=settings.hidden,
            lstm_size=(settings.lstm,),
            output_fc_layer_params=None,
        )

    @property
    def state(self) -> list[TensorSpec]:
        state = [TensorSpec(name, (self.settings.lstm,), "float32") for name in ("state_h", "state_c")]
        if self.settings.differences:
            sizes = zip(LAST_OBSERVATION_PARTS, (self.obs_dim, 1), strict=True)
            state += [TensorSpec(name, (n,), "float32") for name, n in sizes]
        return state

    def _statistics(self) -> list[FloatArray]:
        differences = self._differences
        return super()._statistics() + ([] if differences is None else differences.weights())

    def _observe(self, rows: AnyArray) -> None:
        super()._observe(rows)
        if self._differences is not None:
            self._differences.observe(self.columns.differences(rows))

    def _checkpointed(self) -> dict[str, Any]:
        own = {} if self._differences is None else {"differences": self._differences}
        return super()._checkpointed() | own

    def policy(self, weights: list[FloatArray] | None = None) -> GreedyLstmPolicy:
        return GreedyLstmPolicy(self.weights() if weights is None else weights)

    def _transition(self, rows: Any) -> Transition:  # [batch, width]
        columns = self.columns
        frames = tf.reshape(rows, (rows.shape[0], columns.frames, columns.frame_width))
        types, observations = tf.cast(frames[..., columns.step_type], tf.int32), frames[..., columns.observation]
        actions, reward, discount, crosses = self._n_steps(frames, types)
        learned = columns.frames - self.settings.n_step  # steps whose n rewards are all in the sequence
        skipped, unpack = self._skipped(types[:, :learned], crosses), self.preprocessing.unpack
        return Transition(
            TimeStep(skipped, reward, discount, unpack(observations[:, :learned])),
            PolicyStep(actions, (), ()),
            TimeStep(types, reward, discount, unpack(observations)),
        )

    def _n_steps(self, frames: Any, types: Any) -> tuple[Any, Any, Any, Any]:  # [batch, length + 1 − n] each
        """Actions; rewards and discounts over n steps; and whether the n steps cross the end of an episode.

        A terminated task does not count as crossed, because its discount of 0 ends the sum.
        """
        columns, n, gamma = self.columns, self.settings.n_step, self.settings.gamma
        learned = columns.frames - n
        reward, crosses = tf.zeros_like(frames[:, :learned, 0]), tf.zeros_like(types[:, :learned], tf.bool)
        discount = tf.ones_like(reward)
        for k in range(n):
            ahead = frames[:, k : k + learned]
            if k:
                crosses |= (types[:, k : k + learned] == StepType.LAST) & (discount > 0)
                discount *= gamma
            reward += discount * ahead[..., columns.reward]
            discount *= ahead[..., columns.discount]
        return tf.cast(frames[:, :learned, columns.action.start], tf.int64), reward, discount, crosses

    def _skipped(self, types: Any, crosses: Any) -> Any:  # [batch, length + 1 − n]
        """The step types, with LAST where nothing is to be learned: the loss skips LAST, the LSTM resets at FIRST.

        A sequence begins with a state of zeros. After a FIRST, the LSTM has the state that the policy had as it acted.
        If the episode began before the sequence, the state is wrong at first, so the burn-in steps are skipped. Where
        `crosses` replaces a FIRST, the LSTM is not reset, but `crosses` also replaces the rest of that episode.
        """
        began = tf.cumsum(tf.cast(types == StepType.FIRST, tf.int32), axis=1) > 0
        burns_in = (tf.range(types.shape[1]) < self.settings.burn_in) & ~began
        return tf.where(burns_in | crosses, StepType.LAST, types)

    def act(self) -> Any:
        variables = self._network.trainable_variables
        split = len(variables) - LSTM - HEAD
        preprocessing, differences = self.preprocessing, self._differences

        # The LSTM is written out, because a Keras layer for sequences adds a loop with tensor lists to the graph.
        def act(observation: Any, noise: Any, state_h: Any, state_c: Any, *rest: Any) -> dict[str, Any]:
            *last, reset = rest
            vectors = preprocessing.pack(observation)
            flow = preprocessing.scale(vectors)
            begins = reset[:, None]
            if differences is not None:
                before, observed = last
                flow = tf.concat((flow, differences(vectors, before, observed, begins)), axis=1)
                last = [tf.identity(vectors), tf.where(begins, 1.0, 1.0)]  # ones_like would compute with shapes
            for kernel, bias in zip(variables[0:split:2], variables[1:split:2], strict=True):
                flow = tf.nn.relu(tf.matmul(flow, kernel) + bias)
            hidden, cell = (tf.where(begins, tf.zeros_like(part), part) for part in (state_h, state_c))
            kernel, recurrent, bias = variables[split : split + LSTM]
            gates = tf.matmul(flow, kernel) + tf.matmul(hidden, recurrent) + bias
            into, keep, candidate, out = tf.split(gates, 4, axis=1)
            cell = tf.sigmoid(keep) * cell + tf.sigmoid(into) * tf.tanh(candidate)
            hidden = tf.sigmoid(out) * tf.tanh(cell)
            q_values = tf.matmul(hidden, variables[-2]) + variables[-1]
            state = dict(zip((spec.name for spec in self.state), (hidden, cell, *last), strict=True))
            return {"action": self.choose(q_values + noise), "q_values": q_values, **state}

        return self._traced(act)
