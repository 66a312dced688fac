"""What is put around an environment.

In:      a gymnasium environment.
Out:     one that takes other actions, or rests after an episode.
Refuses: EnvironmentFault for an action that cannot be made discrete.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlway_client.errors import EnvironmentFault


class DiscreteActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Offers `n` evenly spaced values of a one-dimensional continuous action as a discrete one."""

    def __init__(self, env: gymnasium.Env[Any, Any], n: int) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box) or space.shape != (1,) or not space.is_bounded():
            raise EnvironmentFault(
                f"--discretize: expected a bounded continuous action of one dimension, got {space}; "
                f"wrap the environment to choose among its actions yourself."
            )
        self.values = np.linspace(space.low, space.high, n, dtype=space.dtype)  # [n, 1]
        self.action_space = Discrete(n)

    def action(self, action: Any) -> Any:
        return self.values[int(action)]


class OneEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays the episode of a seed, then rests until the next seed, so that others' longer episodes cost no more steps.

    A vector of environments begins ended ones anew by itself, without a seed; here it is shown the last observation.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._last: Any = None
        self._rests = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._rests = seed is None
        if self._rests:
            return self._last, {}
        self._last, infos = self.env.reset(seed=seed, options=options)
        return self._last, infos

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._rests:
            return self._last, 0.0, False, False, {}
        answer = self.env.step(action)
        self._last = answer[0]
        return answer
