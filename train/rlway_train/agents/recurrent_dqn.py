"""TF-Agents' DQN over sequences: a learner whose policy remembers.

In:      rows of `sequence_length` steps, see sequences.
Out:     the Q-network's weights as numpy; `act`: argmax(q_values + noise), with the LSTM's state in and out.

The networks are TF-Agents' QRnnNetwork: the hidden layers, one LSTM, the Q-values. A sequence begins without memory, as
an episode does, but mostly in the midst of one; its first `burn_in` steps fill the memory, and are not learnt from.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DdqnAgent, DqnAgent
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.agents.dqn import QLearner
from rlway_train.policies.lstm import HEAD, LSTM, GreedyLstmPolicy


class FullSequenceTargets:
    """Values what a step leads to with the memory of all that came before it.

    TF-Agents' agents would unroll the target network from the second frame on, without what the first one showed.
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

    def _make_network(self, observation: Any, action: Any) -> QRnnNetwork:
        settings = self.settings
        return QRnnNetwork(
            observation,
            action,
            input_fc_layer_params=settings.hidden,
            lstm_size=(settings.lstm,),
            output_fc_layer_params=None,
        )

    @property
    def state(self) -> list[TensorSpec]:
        return [TensorSpec(name, (self.settings.lstm,), "float32") for name in ("state_h", "state_c")]

    def policy(self, weights: list[FloatArray] | None = None) -> GreedyLstmPolicy:
        return GreedyLstmPolicy(self.weights() if weights is None else weights)

    def _transition(self, rows: Any) -> Transition:  # [batch, width]
        d, length = self.obs_dim, self.settings.sequence_length
        frames = tf.reshape(rows, (rows.shape[0], length + 1, -1))
        types, observations = tf.cast(frames[..., 0], tf.int32), frames[..., 1 : d + 1]
        actions, reward, discount, crosses = self._n_steps(frames, types)
        learnt = length + 1 - self.settings.n_step  # steps of which all that is summed is known
        skipped, unpack = self._skipped(types[:, :learnt], crosses), self.preprocessing.unpack
        return Transition(
            TimeStep(skipped, reward, discount, unpack(observations[:, :learnt])),
            PolicyStep(actions, (), ()),
            TimeStep(types, reward, discount, unpack(observations)),
        )

    def _n_steps(self, frames: Any, types: Any) -> tuple[Any, Any, Any, Any]:  # [batch, length + 1 − n] each
        """Actions; rewards and discounts over n steps; and whether these lead across the end of an episode.

        They do not where the task terminated: its discount of 0 ends the sum.
        """
        n, gamma = self.settings.n_step, self.settings.gamma
        learnt = frames.shape[1] - n
        reward, crosses = tf.zeros_like(frames[:, :learnt, 0]), tf.zeros_like(types[:, :learnt], tf.bool)
        discount = tf.ones_like(reward)
        for k in range(n):
            ahead = frames[:, k : k + learnt]
            if k:
                crosses |= (types[:, k : k + learnt] == StepType.LAST) & (discount > 0)
                discount *= gamma
            reward += discount * ahead[..., -2]
            discount *= ahead[..., -1]
        return tf.cast(frames[:, :learnt, self.obs_dim + 1], tf.int64), reward, discount, crosses

    def _skipped(self, types: Any, crosses: Any) -> Any:  # [batch, length + 1 − n]
        """The step types, LAST where there is nothing to learn: TF-Agents' loss skips it, and its LSTM resets at FIRST.

        A stretch begins without memory. What follows a FIRST has the memory that it has when acting; the first steps of
        another episode have not. Where `crosses` hides a FIRST, it hides the rest of its episode, too.
        """
        remembers = tf.cumsum(tf.cast(types == StepType.FIRST, tf.int32), axis=1) > 0
        burns_in = (tf.range(types.shape[1]) < self.settings.burn_in) & ~remembers
        return tf.where(burns_in | crosses, StepType.LAST, types)

    def _observations(self, rows: FloatArray) -> FloatArray:
        frames = rows.reshape(len(rows), self.settings.sequence_length + 1, -1)
        return frames[..., 1 : self.obs_dim + 1].reshape(-1, self.obs_dim)

    def act(self) -> Any:
        variables = self._network.trainable_variables
        split = len(variables) - LSTM - HEAD
        perceive = self.preprocessing

        # By hand, since a Keras layer for sequences would put a loop and its lists into the graph.
        def act(observation: Any, noise: Any, state_h: Any, state_c: Any, reset: Any) -> dict[str, Any]:
            flow = perceive(observation)
            for kernel, bias in zip(variables[0:split:2], variables[1:split:2], strict=True):
                flow = tf.nn.relu(tf.matmul(flow, kernel) + bias)
            begins = reset[:, None]
            hidden, cell = (tf.where(begins, tf.zeros_like(part), part) for part in (state_h, state_c))
            kernel, recurrent, bias = variables[split : split + LSTM]
            gates = tf.matmul(flow, kernel) + tf.matmul(hidden, recurrent) + bias
            into, keep, candidate, out = tf.split(gates, 4, axis=1)
            cell = tf.sigmoid(keep) * cell + tf.sigmoid(into) * tf.tanh(candidate)
            hidden = tf.sigmoid(out) * tf.tanh(cell)
            q_values = tf.matmul(hidden, variables[-2]) + variables[-1]
            return {"action": self.choose(q_values + noise), "q_values": q_values, "state_h": hidden, "state_c": cell}

        return self._traced(act)
