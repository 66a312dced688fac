"""How an algorithm explores while experience is collected: at random first, then around the learned policy.

In:      settings, the environment's actions, the present weights.
Out:     policies in numpy.

This needs no agent and no TensorFlow: an actor in a process of its own has neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain
from rlway_train.policies.convolutional import greedy_conv_policy
from rlway_train.policies.lstm import GreedyLstmPolicy
from rlway_train.policies.numpy import (
    BatchPolicy,
    EpsilonGreedyPolicy,
    GaussianPolicy,
    GreedyPolicy,
    RandomPolicy,
    UniformPolicy,
    linear,
)


class ExplorationLevel(NamedTuple):
    """How much an algorithm explores now: ε of DQN, the temperature α of SAC."""

    letter: str
    name: str
    value: float


class Exploration(ABC):
    """Makes the policies that collect experience."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    @property
    @abstractmethod
    def random(self) -> BatchPolicy:
        """Uniformly random actions."""

    @abstractmethod
    def exploring(self, weights: Sequence[FloatArray], step: int) -> BatchPolicy:
        """The policy that collects from this environment step on."""


class DqnExploration(Exploration):
    """DQN: a random action with a probability that falls over the steps, otherwise the best one."""

    def __init__(self, settings: DqnSettings, domain: Domain, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._settings, self._domain, self._n_actions = settings, domain, domain.n_actions

    @property
    def random(self) -> RandomPolicy:
        return RandomPolicy(self._n_actions, self._rng)

    def exploring(self, weights: Sequence[FloatArray], step: int) -> EpsilonGreedyPolicy:
        return EpsilonGreedyPolicy(self._greedy(weights), self.random, self.epsilon(step))

    def _greedy(self, weights: Sequence[FloatArray]) -> BatchPolicy:
        if self._settings.lstm:
            return GreedyLstmPolicy(weights)
        if self._settings.conv is not None:
            return greedy_conv_policy(weights, self._settings, self._domain)
        return GreedyPolicy(weights)

    def epsilon(self, step: int) -> float:
        """The probability of a random action."""
        settings = self._settings
        return linear(settings.epsilon_start, settings.epsilon_end, step / max(settings.epsilon_steps, 1))


class SacExploration(Exploration):
    """SAC: a sample from the actor's distribution, whose width SAC adjusts itself."""

    def __init__(self, domain: Domain, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._low, self._high = (bound.astype(np.float32).ravel() for bound in domain.action.bounds())

    @property
    def random(self) -> UniformPolicy:
        return UniformPolicy(self._low, self._high, self._rng)

    def exploring(self, weights: Sequence[FloatArray], step: int) -> GaussianPolicy:  # noqa: ARG002
        low, high = self._low, self._high
        return GaussianPolicy(weights, (high + low) / 2, (high - low) / 2, self._rng)


def make_exploration(settings: TrainingSettings, domain: Domain, rng: np.random.Generator) -> Exploration:
    """The exploration of these settings' algorithm."""
    if isinstance(settings, SacSettings):
        return SacExploration(domain, rng)
    assert isinstance(settings, DqnSettings)
    return DqnExploration(settings, domain, rng)
