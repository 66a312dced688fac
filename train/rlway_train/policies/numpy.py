"""Policies as numpy: what chooses actions while collecting and evaluating.

In:      observations float32[B, obs_dim], and what a recurrent policy remembers of the B episodes.
Out:     actions int64[B], or float32[B, action_dim] of a continuous policy; what it remembers now.

TensorFlow's own call costs some 700 µs whatever the batch; the same few matrix products cost 10 µs here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlway_client.contract.specs import AnyArray, FloatArray, IntArray

# An observation far from all that was trained on can overflow exp(), and ∞ · 0 would make the greedy action NaN. This
# is as good as ∞: whatever the noise, the action is at one of its bounds.
LARGEST_SCALE = 1e9

FURTHEST = 10.0  # standard deviations from the mean that a normalised observation may lie
TINIEST_VARIANCE = 1e-8  # of an observation that never changes

PolicyState = tuple[FloatArray, ...]  # [B, …] each; () is no memory, or that all B episodes begin


class BatchPolicy(ABC):
    """Chooses actions for B episodes at once, each with a memory of its own."""

    @abstractmethod
    def __call__(
        self, observations: FloatArray, state: PolicyState = ()
    ) -> tuple[AnyArray, PolicyState]:  # [B, obs_dim]
        """The actions [B, …], and the memory to give with the next observations."""


class StatelessPolicy(BatchPolicy):
    """Acts on the present observation alone."""

    @abstractmethod
    def act(self, observations: FloatArray) -> AnyArray:  # [B, obs_dim] -> [B, …]
        """The actions."""

    def __call__(self, observations: FloatArray, state: PolicyState = ()) -> tuple[AnyArray, PolicyState]:  # noqa: ARG002
        return self.act(observations), ()


def reset_state(state: PolicyState, begins: NDArray[np.bool_]) -> PolicyState:
    """The memory without that of the episodes which begin anew: zeros, as at the very start."""
    if not state or not begins.any():
        return state
    return tuple(np.where(begins.reshape(-1, *[1] * (part.ndim - 1)), np.float32(0), part) for part in state)


def dense(layers: Sequence[FloatArray], observations: FloatArray) -> FloatArray:  # [B, obs_dim] -> [B, outputs]
    """A network of dense layers, ReLU between them; `layers` are kernels and biases in order.

    Before them there may be the mean and the variance, both [obs_dim], by which the network normalises.
    """
    flow = observations
    if layers[0].ndim == 1:
        flow = normalized(flow, *layers[:2])
        layers = layers[2:]
    last = len(layers) - 2
    for i in range(0, last, 2):
        flow = flow @ layers[i]
        flow += layers[i + 1]
        np.maximum(flow, 0, out=flow)
    return flow @ layers[last] + layers[last + 1]


def normalized(observations: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:  # [B, obs_dim]
    """As rlway_train.agents.preprocessing does it in TensorFlow."""
    seen: FloatArray = (observations - mean) / np.sqrt(variance + np.float32(TINIEST_VARIANCE))
    return np.clip(seen, -FURTHEST, FURTHEST)


@dataclass(frozen=True)
class GreedyPolicy(StatelessPolicy):
    """The best action by Q-value."""

    layers: Sequence[FloatArray]

    def q_values(self, observations: FloatArray) -> FloatArray:  # [B, obs_dim] -> [B, n_actions]
        return dense(self.layers, observations)

    def act(self, observations: FloatArray) -> IntArray:
        best: IntArray = self.q_values(observations).argmax(axis=1)
        return best


@dataclass(frozen=True)
class RandomPolicy(StatelessPolicy):
    """Uniformly random actions."""

    n_actions: int
    rng: np.random.Generator

    def act(self, observations: FloatArray) -> IntArray:
        return self.rng.integers(0, self.n_actions, len(observations))


@dataclass(frozen=True)
class EpsilonGreedyPolicy(BatchPolicy):
    """The greedy action, but with probability epsilon a random one."""

    greedy: BatchPolicy
    random: RandomPolicy
    epsilon: float

    def __call__(self, observations: FloatArray, state: PolicyState = ()) -> tuple[IntArray, PolicyState]:
        explores = self.random.rng.random(len(observations)) < self.epsilon
        best, state = self.greedy(observations, state)  # a step that explores is remembered, too
        return np.where(explores, self.random.act(observations), best), state


@dataclass(frozen=True)
class GaussianPolicy(StatelessPolicy):
    """The tanh-squashed normal distribution of TanhNormalProjectionNetwork: its middle, or with `rng` a sample."""

    layers: Sequence[FloatArray]
    mean: FloatArray  # [action_dim], the middle of the action's range
    magnitude: FloatArray  # [action_dim], half of its width
    rng: np.random.Generator | None = None

    def distribution(self, observations: FloatArray) -> tuple[FloatArray, FloatArray]:  # -> [B, action_dim] twice
        """Location and scale, before the squashing."""
        loc, log_scale = np.split(dense(self.layers, observations), 2, axis=1)
        return loc, np.exp(np.minimum(log_scale, np.log(LARGEST_SCALE), dtype=np.float32))

    def act(self, observations: FloatArray) -> FloatArray:  # -> [B, action_dim]
        loc, scale = self.distribution(observations)
        if self.rng is not None:
            loc = loc + scale * self.rng.standard_normal(loc.shape, np.float32)
        action: FloatArray = self.mean + self.magnitude * np.tanh(loc)
        return action


@dataclass(frozen=True)
class UniformPolicy(StatelessPolicy):
    """Uniformly random continuous actions."""

    low: FloatArray  # [action_dim]
    high: FloatArray  # [action_dim]
    rng: np.random.Generator

    def act(self, observations: FloatArray) -> FloatArray:  # -> [B, action_dim]
        shares = self.rng.random((len(observations), len(self.low)), np.float32)
        return self.low + (self.high - self.low) * shares


def linear(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` as the fraction goes from 0 to 1, and `end` from then on."""
    return start + (end - start) * min(1.0, fraction)
