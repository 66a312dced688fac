"""By how much each observed number changed since the step before, as further inputs of a network.

In:      observations float32[n, obs_dim]; those one step before, and 1 where there were any; where episodes begin.
Out:     differences float32[n, obs_dim], in units of their root mean square over all steps that were collected.

    difference = clip((observation − observation before) / √(mean square + ε), −10, 10); 0 without one before
    ε = 1e-20, as differences shrink with the control period

Positions of two successive steps are nearly the same. An LSTM would have to take a small difference of large numbers to
estimate a velocity, which needs large weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rlway_client.contract.specs import FloatArray
from rlway_train.policies.numpy import FURTHEST, TINIEST_MEAN_SQUARE


class Differences(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    """Scales differences by their root mean square."""

    def __init__(self, obs_dim: int) -> None:
        super().__init__(name="differences")
        self._count = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="count")
        self._mean_square = tf.Variable(tf.ones([obs_dim]), trainable=False, name="mean_square")

    def weights(self) -> list[FloatArray]:
        """The mean square of each number, for policies in numpy."""
        return [self._mean_square.numpy()]

    def observe(self, differences: FloatArray) -> None:  # [n, obs_dim]
        """Updates the mean squares."""
        if not len(differences):
            return
        before, n = float(self._count.numpy()), len(differences)
        squares = np.square(differences.astype(np.float64)).sum(axis=0) + self._mean_square.numpy() * before
        self._mean_square.assign((squares / (before + n)).astype(np.float32))
        self._count.assign(before + n)

    def __call__(self, observations: Any, before: Any, observed: Any, begins: Any) -> Any:
        """[n, (length,) obs_dim] from two such tensors, `observed` and `begins` [n, (length,) 1].

        Where `begins` is True, `before` and `observed` do not matter, even if they are not finite.
        """
        before, observed = tf.where(begins, observations, before), tf.where(begins, 0.0, observed)
        scaled = (observations - before) * observed * tf.math.rsqrt(self._mean_square + TINIEST_MEAN_SQUARE)
        return tf.clip_by_value(scaled, -FURTHEST, FURTHEST)
