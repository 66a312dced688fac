"""Wrappers around environments.

In:      a gymnasium environment.
Out:     one that takes actions as agents give them, or stops after an episode.
Refuses: EnvironmentFault for an action that cannot be made discrete.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import TensorSpec
from rlway_train.envs.spaces import short


class DiscreteActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Replaces a continuous action of one number by a discrete choice among `n` evenly spaced values."""

    def __init__(self, env: gymnasium.Env[Any, Any], n: int) -> None:
        super().__init__(env)
        space = env.action_space
        if (
            not isinstance(space, Box)
            or not np.issubdtype(space.dtype, np.floating)
            or space.low.size != 1
            or not space.is_bounded()
        ):
            raise EnvironmentFault(
                f"--discretize: expected a bounded continuous action of one number, got {short(space)}; leave it out, "
                f"or put a wrapper around the environment that has Discrete actions."
            )
        self.values = np.linspace(space.low, space.high, n, dtype=space.dtype)  # [n, …] in the environment's own shape
        self.action_space = Discrete(n)

    def action(self, action: Any) -> Any:
        return self.values[int(action)]


class FromZero(gymnasium.ActionWrapper[Any, Any, Any]):
    """Takes discrete actions counted from 0, and passes the environment's own number on, in its own shape."""

    def __init__(self, env: gymnasium.Env[Any, Any], spec: TensorSpec) -> None:
        """`spec` is the environment's own action: one whole number."""
        super().__init__(env)
        lowest, highest = (int(bound.item()) for bound in spec.bounds())
        self._first, self._space = lowest, env.action_space
        self.action_space = Discrete(highest - lowest + 1)

    def action(self, action: Any) -> Any:
        number = self._first + action
        # gymnasium's Discrete takes a number, other spaces an array.
        if isinstance(self._space, Discrete):
            return number
        return np.full(self._space.shape or (), number, self._space.dtype)


class FlatActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Takes a vector, as agents give it, and reshapes it to the environment's continuous action."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.action_space
        assert isinstance(space, Box)
        self._space = space
        dtype: Any = space.dtype
        self.action_space = Box(space.low.ravel(), space.high.ravel(), dtype=dtype.type)

    def action(self, action: Any) -> Any:
        return np.asarray(action, self._space.dtype).reshape(self._space.shape)


class OneEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays one episode for each seed, and takes no steps between the episode's end and the next seed.

    A vector of environments resets ended ones without a seed. Here, such a reset returns the last observation, and
    later steps cost nothing while other environments finish longer episodes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._last: Any = None
        self._stopped = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._stopped = seed is None
        if self._stopped:
            return self._last, {}
        self._last, infos = self.env.reset(seed=seed, options=options)
        return self._last, infos

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._stopped:
            return self._last, 0.0, False, False, {}
        answer = self.env.step(action)
        self._last = answer[0]
        return answer
