"""How an algorithm acts while experience is gathered: at random first, then exploring around what was learned.

In:      settings, what the environment takes, the weights of the moment.
Out:     policies in numpy.

No agent is needed for that, and no TensorFlow: an actor in a process of its own has neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlway_client.specs import FloatArray
from rlway_train.acting import (
    EpsilonGreedyPolicy,
    GaussianPolicy,
    GreedyPolicy,
    RandomPolicy,
    UniformPolicy,
    linear,
)
from rlway_train.environment import Domain
from rlway_train.lstm import GreedyLstmPolicy
from rlway_train.settings import DqnSettings, SacSettings, Settings


@dataclass(frozen=True)
class DqnBehaviour:
    """Of DQN: the best action, but with a probability that falls over the steps a random one."""

    settings: DqnSettings
    n_actions: int
    rng: np.random.Generator

    @property
    def random(self) -> RandomPolicy:
        return RandomPolicy(self.n_actions, self.rng)

    def exploring(self, weights: Sequence[FloatArray], step: int) -> EpsilonGreedyPolicy:
        greedy = GreedyLstmPolicy(weights) if self.settings.lstm else GreedyPolicy(weights)
        return EpsilonGreedyPolicy(greedy, self.random, self.epsilon(step))

    def epsilon(self, step: int) -> float:
        settings = self.settings
        return linear(settings.epsilon_start, settings.epsilon_end, step / max(settings.epsilon_steps, 1))


@dataclass(frozen=True)
class SacBehaviour:
    """Of SAC: a sample of the actor's distribution, whose width SAC adjusts by itself."""

    low: FloatArray  # [action_dim]
    high: FloatArray  # [action_dim]
    rng: np.random.Generator

    @property
    def random(self) -> UniformPolicy:
        return UniformPolicy(self.low, self.high, self.rng)

    def exploring(self, weights: Sequence[FloatArray], step: int) -> GaussianPolicy:  # noqa: ARG002
        return GaussianPolicy(weights, (self.high + self.low) / 2, (self.high - self.low) / 2, self.rng)


Behaviour = DqnBehaviour | SacBehaviour


def make_behaviour(settings: Settings, domain: Domain, rng: np.random.Generator) -> Behaviour:
    """The behaviour of the algorithm that has these settings."""
    if isinstance(settings, SacSettings):
        low, high = (bound.astype(np.float32) for bound in domain.action.bounds())
        return SacBehaviour(low, high, rng)
    assert isinstance(settings, DqnSettings)
    return DqnBehaviour(settings, domain.n_actions, rng)
