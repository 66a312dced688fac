"""The range within which the targets of Q-values are kept, where `--clip-targets` is set.

In:      the rewards and discounts of the rows that were collected.
Out:     a loss over targets and Q-values that clips the targets first.

A target is a reward plus the discounted Q-value of what follows. Where no experience is near, the network extrapolates,
and its Q-values can exceed every return that is possible. Targets then rise with the Q-values that they are made of,
and the policy is drawn to states that it has never seen (van Hasselt et al., "Deep Reinforcement Learning and the
Deadly Triad", 2018).

A row with the reward R and the discount d makes the target R + γ d Q. If every Q is within [low, high], then so is
every target, for

    low = min R / (1 − γ d)  and  high = max R / (1 − γ d)

over all rows. A row that sums the rewards of n steps has d = γⁿ⁻¹, and a row at whose end the task terminated has
d = 0.
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

    def __init__(self, gamma: float, reward_scale: float) -> None:
        """`gamma` is below 1."""
        super().__init__()
        self._gamma, self._scale = gamma, reward_scale
        # Before the first row the range is empty: any return is lower than the lowest and higher than the highest.
        self._lowest = tf.Variable(np.inf, trainable=False, dtype=tf.float32, name="lowest_return")
        self._highest = tf.Variable(-np.inf, trainable=False, dtype=tf.float32, name="highest_return")

    def observe(self, rewards: FloatArray, discounts: FloatArray) -> None:  # [n], [n]
        """Takes further rows in."""
        if rewards.size:
            returns = rewards / (1 - self._gamma * discounts)
            self._lowest.assign(min(float(self._lowest.numpy()), float(returns.min())))
            self._highest.assign(max(float(self._highest.numpy()), float(returns.max())))

    def bounds(self) -> tuple[Any, Any]:
        """The lowest and the highest target, in the scale of the Q-values."""
        return self._lowest * self._scale, self._highest * self._scale

    def clipped(self, loss: Loss) -> Loss:
        """The loss of targets that are kept within the range."""

        def clipping(targets: Any, q_values: Any) -> Any:
            return loss(tf.clip_by_value(targets, *self.bounds()), q_values)

        return clipping
