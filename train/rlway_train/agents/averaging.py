"""The weights that are evaluated and shipped, where these are an average over the training.

In:      a network's variables, after each block of updates.
Out:     their exponential moving average; the network with the average in place of its own weights, for a while.

    average ← d · average + (1 − d) · weights,  d = exp(−iterations of the block ÷ window)

A single update moves the weights towards one batch. DQN's greedy action follows from small differences between
Q-values, so a policy can be good after one block and bad after the next. The average cancels this noise (Polyak &
Juditsky, "Acceleration of stochastic approximation by averaging", 1992). The agent itself goes on with its own weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from rlway_client.contract.specs import FloatArray

LONGEST_SHARE = 0.8  # the window is at most this share of the iterations so far: early weights are soon forgotten


class WeightAverage:
    """An average beside the variables of a network."""

    def __init__(self, variables: Sequence[Any], window: int) -> None:
        """`window` is a time constant, in iterations."""
        self._of, self._window = list(variables), window
        self.variables = [
            tf.Variable(variable.numpy(), trainable=False, name=f"average_{i}") for i, variable in enumerate(variables)
        ]
        self._move = tf.function(self._move_by, input_signature=[tf.TensorSpec([], tf.float32)], autograph=False)

    def weights(self) -> list[FloatArray]:
        return [average.numpy() for average in self.variables]

    def update(self, iterations: int, done: int) -> None:
        """Takes the present weights in, after a block of `iterations`. `done` counts the iterations so far."""
        self._move(-math.expm1(-iterations / min(self._window, max(LONGEST_SHARE * done, 1.0))))

    def _move_by(self, share: Any) -> None:
        for average, variable in zip(self.variables, self._of, strict=True):
            average.assign_add(share * (variable - average))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block, the network has the averages in place of its own weights."""
        own = [variable.numpy() for variable in self._of]
        try:
            self._assign(self.weights())
            yield
        finally:
            self._assign(own)

    def _assign(self, weights: Sequence[FloatArray]) -> None:
        for variable, value in zip(self._of, weights, strict=True):
            variable.assign(value)
