"""A recurrent policy in numpy: dense layers, one LSTM, Q-values.

In:      observations float32[B, obs_dim]; the LSTM's state, float32[B, cells] twice. With differences between
         observations, also the last observation float32[B, obs_dim], and float32[B, 1]: 1 where there was one.
Out:     actions int64[B]; the state after these observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlway_client.contract.specs import FloatArray, IntArray
from rlway_train.policies.numpy import FURTHEST, TINIEST_MEAN_SQUARE, BatchPolicy, PolicyState, dense, normalized

HEAD, LSTM = 2, 3  # arrays: kernel and bias; kernel, recurrent kernel and bias
STATISTICS = 2  # arrays: mean and variance


@dataclass(frozen=True)
class GreedyLstmPolicy(BatchPolicy):
    """The action with the highest Q-value, by a QRnnNetwork without layers between its LSTM and the Q-values.

    `layers` are its variables, in order. Vectors may come before them, all [obs_dim]: mean and variance of the
    observations, which are then normalised; the mean square of their differences, which are then observed, too.
    """

    layers: Sequence[FloatArray]

    def q_values(
        self, observations: FloatArray, state: PolicyState = ()
    ) -> tuple[FloatArray, PolicyState]:  # -> [B, n_actions]
        front = next(i for i, layer in enumerate(self.layers) if layer.ndim > 1)
        vectors, layers = self.layers[:front], self.layers[front:]
        normalizes, differs = len(vectors) >= STATISTICS, len(vectors) % STATISTICS == 1
        inputs = normalized(observations, *vectors[:STATISTICS]) if normalizes else observations
        last: PolicyState = ()
        if differs:
            inputs = np.concatenate((inputs, difference(observations, state[2:], vectors[-1])), axis=1)
            last = observations, np.ones_like(observations[:, :1])
        split = len(layers) - LSTM - HEAD
        features = np.maximum(dense(layers[:split], inputs), 0)
        cells = layers[split + 1].shape[0]
        hidden, cell = state[:2] or (np.zeros((len(observations), cells), np.float32),) * 2
        hidden, cell = lstm_step(layers[split : split + LSTM], features, hidden, cell)
        return dense(layers[-HEAD:], hidden), (hidden, cell, *last)

    def __call__(self, observations: FloatArray, state: PolicyState = ()) -> tuple[IntArray, PolicyState]:
        q_values, state = self.q_values(observations, state)
        return q_values.argmax(axis=1), state


def difference(observations: FloatArray, last: PolicyState, mean_square: FloatArray) -> FloatArray:  # [B, obs_dim]
    """The same as rlway_train.agents.differences computes in TensorFlow; zeros where there is no last observation."""
    if not last:
        return np.zeros_like(observations)
    before, observed = last
    scaled: FloatArray = (observations - before) * observed / np.sqrt(mean_square + np.float32(TINIEST_MEAN_SQUARE))
    return np.clip(scaled, -FURTHEST, FURTHEST)


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
