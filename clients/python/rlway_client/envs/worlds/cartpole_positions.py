"""CartPole-v1 without its velocities: only a policy with state can tell how fast things move.

In:      an action: 0 pushes the cart to the left, 1 to the right.
Out:     the cart's position and the pole's angle, float32[2].

Physics, rewards, ends of episodes and pictures are gymnasium's own, in one environment and vectorised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from rlway_client.contract.specs import AnyArray, FloatArray

SHOWN = slice(0, 3, 2)  # of position, velocity, angle, angular velocity


class CartPolePositions(CartPoleEnv):
    """One cart."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observation_space = _shown(self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        observation, infos = super().reset(seed=seed, options=options)
        return observation[SHOWN], infos

    def step(self, action: int | AnyArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, infos = super().step(action)  # type: ignore[no-untyped-call]
        return observation[SHOWN], reward, terminated, truncated, infos


class CartPolePositionsVector(CartPoleVectorEnv):
    """Many carts that step together."""

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        super().__init__(num_envs, **options)
        self.single_observation_space = _shown(self.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        observation, infos = super().reset(seed=seed, options=options)
        return observation[:, SHOWN], infos

    def step(self, action: AnyArray) -> tuple[FloatArray, AnyArray, AnyArray, AnyArray, dict[str, Any]]:
        observation, reward, terminated, truncated, infos = super().step(action)
        return observation[:, SHOWN], reward, terminated, truncated, infos


def _shown(space: Any) -> Box:
    return Box(space.low[SHOWN], space.high[SHOWN], dtype=np.float32)
