"""TF-Agents' DQN over sequences: a learner whose policy remembers.

In:      rows of `sequence_length` steps, see sequences.
Out:     the Q-network's weights as numpy; `act`: argmax(q_values + noise), with the LSTM's state in and out.

The networks are TF-Agents' QRnnNetwork: the hidden layers, one LSTM, the Q-values. A sequence begins without memory, as
an episode does, but mostly in the midst of one; its first `burn_in` steps fill the memory, and are not learnt from.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.trajectories import StepType, Trajectory

from rlway_client.specs import FloatArray, TensorSpec
from rlway_train.dqn import QLearner
from rlway_train.lstm import HEAD, LSTM, GreedyLstmPolicy


class RecurrentDqnLearner(QLearner):
    """Learns a network with an LSTM from sequences."""

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

    def _transition(self, rows: Any) -> Trajectory:  # [batch, width]
        d, length = self.obs_dim, self.settings.sequence_length
        frames = tf.reshape(rows, (rows.shape[0], length + 1, -1))
        types = tf.cast(frames[..., 0], tf.int32)
        return Trajectory(
            step_type=self._burnt_in(types),
            observation=frames[..., 1 : d + 1],
            action=tf.cast(frames[..., d + 1], tf.int64),
            policy_info=(),
            next_step_type=tf.concat([types[:, 1:], types[:, -1:]], axis=1),
            reward=frames[..., -2],
            discount=frames[..., -1],
        )

    def _burnt_in(self, types: Any) -> Any:  # [batch, length + 1]
        """The step types, LAST where the memory is not yet what it would be within an episode.

        TF-Agents' loss skips LAST, and its LSTM resets at FIRST alone. What follows a FIRST has the memory that it has
        when acting, but not after one in the very first place: the target network begins one frame later, without it.
        """
        burn_in = self.settings.burn_in
        begun = tf.cumsum(tf.cast(types == StepType.FIRST, tf.int32), axis=1) - tf.cast(
            types[:, :1] == StepType.FIRST, tf.int32
        )
        unsettled = (tf.range(types.shape[1]) < burn_in)[None] & (begun == 0)
        return tf.where(unsettled, StepType.LAST, types)

    def act(self) -> Any:
        variables = self._network.variables
        split = len(variables) - LSTM - HEAD

        # By hand, since a Keras layer for sequences would put a loop and its lists into the graph.
        def act(observation: Any, noise: Any, state_h: Any, state_c: Any, reset: Any) -> dict[str, Any]:
            flow = observation
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
            action = tf.argmax(q_values + noise, axis=-1, output_type=tf.int64)
            return {"action": action, "q_values": q_values, "state_h": hidden, "state_c": cell}

        return self._traced(act)
