"""An environment of small pictures, in which an agent has to look at the frame before."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

Image = Any  # uint8[height, width]


class Pictures(gymnasium.Env[Image, int]):
    """One half of each picture is bright. A point is for naming the half that was bright in the picture before."""

    observation_space: Any = Box(0, 255, (5, 6), np.uint8)
    action_space: Any = Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as gymnasium has it

    def __init__(self, render_mode: str | None = None, **_: Any) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Image, dict[str, Any]]:
        super().reset(seed=seed)
        self._turn = 0
        self._half = self._before = int(self.np_random.integers(2))
        return self._picture(), {}

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        point = float(action == self._before)
        self._turn += 1
        self._before, self._half = self._half, int(self.np_random.integers(2))
        return self._picture(), point, self._turn == 6, False, {}

    def render(self) -> Image:
        return self._shown.repeat(8, 0).repeat(8, 1)[..., None].repeat(3, 2)

    def _picture(self) -> Image:
        picture = self.np_random.integers(0, 60, self.observation_space.shape, np.uint8)
        picture[:, 3 * self._half : 3 * self._half + 3] += 180
        self._shown = picture
        return picture
