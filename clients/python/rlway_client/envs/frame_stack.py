"""Shows the last frames of an environment side by side, as channels: one image does not show what moves.

In:      an environment that observes one array; how many frames.
Out:     the same environment, whose observation has the frames in its last dimension, the newest last.
Refuses: an environment that observes anything but one Box or MultiBinary (EnvironmentFault).

    [height, width, channels]  ->  [height, width, channels · frames]
    [height, width]            ->  [height, width, frames]
    [size]                     ->  [size · frames]

At the beginning of an episode, its first frame stands for the frames before it. Training and play use this wrapper
alike, so a policy observes the same in both.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiBinary

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray

IMAGE_WITHOUT_CHANNELS = 2  # dimensions


class FrameStack(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observes the last `frames` observations of the environment."""

    def __init__(self, name: str, env: gymnasium.Env[Any, Any], frames: int) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Box | MultiBinary) or not space.shape:
            raise EnvironmentFault(
                f"{name}: --frame-stack needs observations that are one array, got {clipped(space)}; leave it out."
            )
        self._frames = frames
        self._adds_axis = len(space.shape) == IMAGE_WITHOUT_CHANNELS
        self._dtype: Any = None  # of a frame, if it is not the environment's own
        if isinstance(space, MultiBinary):
            self._dtype = np.uint8  # gymnasium's bits are int8, which no image has
            space = Box(0, 1, space.shape, np.uint8)
        low, high = (self._stacked([bound] * frames) for bound in (space.low, space.high))
        self.observation_space = Box(low, high, dtype=low.dtype.type)
        self._recent: list[AnyArray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        first, info = self.env.reset(seed=seed, options=options)
        self._recent = [self._copied(first)] * self._frames
        return self._stacked(self._recent), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        frame, *rest = self.env.step(action)
        self._recent = [*self._recent[1:], self._copied(frame)]
        return self._stacked(self._recent), *rest  # type: ignore[return-value]

    def _copied(self, frame: Any) -> AnyArray:
        """A copy: some environments change the array that they returned before."""
        return np.array(frame, self._dtype)

    def _stacked(self, frames: list[AnyArray]) -> AnyArray:
        return np.stack(frames, axis=-1) if self._adds_axis else np.concatenate(frames, axis=-1)
