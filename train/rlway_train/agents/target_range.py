"""The range within which the targets of Q-values are kept, where `--clip-targets` is set.

In:      the rewards of the rows that were collected.
Out:     a loss over targets and Q-values that clips the targets first.

A target is a reward plus the discounted Q-value of what follows. Where no experience is near, the network extrapolates,
and its Q-values can exceed every return that is possible. Targets then rise with the Q-values that they are made of,
and the policy is drawn to states that it has never seen (van Hasselt et al., "Deep Reinforcement Learning and the
Deadly Triad", 2018). With rewards from r_low to r_high, every return lies between

    min(r_low, r_low / (1 − γ))  and  max(r_high, r_high / (1 − γ))

where an episode may end after any step. Rows of n steps hold sums of n rewards, with γⁿ in place of γ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from rlway_client.contract.specs import FloatArray

Loss = Callable[[Any, Any], Any]  # of targets and Q-values


class TargetRange(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    """The range of returns that the rewards so far allow."""

    def __init__(self, discount: float, reward_scale: float) -> None:
        """`discount` is over one row, and below 1."""
        super().__init__()
        self._horizon, self._scale = 1 / (1 - discount), reward_scale
        # Before the first reward the range is empty: any reward is lower than the lowest and higher than the highest.
        self._lowest = tf.Variable(np.inf, trainable=False, dtype=tf.float32, name="lowest_reward")
        self._highest = tf.Variable(-np.inf, trainable=False, dtype=tf.float32, name="highest_reward")

    def observe(self, rewards: FloatArray) -> None:
        """Takes the rewards of further rows in."""
        if rewards.size:
            self._lowest.assign(min(float(self._lowest.numpy()), float(rewards.min())))
            self._highest.assign(max(float(self._highest.numpy()), float(rewards.max())))

    def bounds(self) -> tuple[Any, Any]:
        """The lowest and the highest target, in the scale of the Q-values."""
        lowest, highest = self._lowest * self._scale, self._highest * self._scale
        return tf.minimum(lowest, lowest * self._horizon), tf.maximum(highest, highest * self._horizon)

    def clipped(self, loss: Loss) -> Loss:
        """The loss of targets that are kept within the range."""

        def clipping(targets: Any, q_values: Any) -> Any:
            return loss(tf.clip_by_value(targets, *self.bounds()), q_values)

        return clipping
