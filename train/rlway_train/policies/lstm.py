"""A recurrent policy in numpy: dense layers, one LSTM, Q-values.

In:      observations float32[B, obs_dim]; the LSTM's state, float32[B, cells] twice.
Out:     actions int64[B]; the state after these observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlway_client.contract.specs import FloatArray, IntArray
from rlway_train.policies.numpy import BatchPolicy, PolicyState, dense

HEAD, LSTM = 2, 3  # arrays: kernel and bias; kernel, recurrent kernel and bias


@dataclass(frozen=True)
class GreedyLstmPolicy(BatchPolicy):
    """The action with the highest Q-value, by a QRnnNetwork without layers between its LSTM and the Q-values."""

    layers: Sequence[FloatArray]  # in the order of the network's variables

    def q_values(
        self, observations: FloatArray, state: PolicyState = ()
    ) -> tuple[FloatArray, PolicyState]:  # -> [B, n_actions]
        split = len(self.layers) - LSTM - HEAD
        features = np.maximum(dense(self.layers[:split], observations), 0)
        cells = self.layers[split + 1].shape[0]
        hidden, cell = state or (np.zeros((len(observations), cells), np.float32),) * 2
        hidden, cell = lstm_step(self.layers[split : split + LSTM], features, hidden, cell)
        return dense(self.layers[-HEAD:], hidden), (hidden, cell)

    def __call__(self, observations: FloatArray, state: PolicyState = ()) -> tuple[IntArray, PolicyState]:
        q_values, state = self.q_values(observations, state)
        return q_values.argmax(axis=1), state


def lstm_step(
    weights: Sequence[FloatArray], features: FloatArray, hidden: FloatArray, cell: FloatArray
) -> tuple[FloatArray, FloatArray]:  # [B, features], [B, cells] twice -> [B, cells] twice
    """Keras' LSTM cell. Its gates come in the order input, forget, candidate, output."""
    kernel, recurrent, bias = weights
    gates = features @ kernel
    gates += hidden @ recurrent
    gates += bias
    into, keep, candidate, out = np.split(gates, 4, axis=1)
    cell = _sigmoid(keep) * cell + _sigmoid(into) * np.tanh(candidate)
    return _sigmoid(out) * np.tanh(cell), cell


def _sigmoid(x: FloatArray) -> FloatArray:
    # exp() would overflow far from zero, with a warning.
    half: FloatArray = np.tanh(x * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)
    return half
