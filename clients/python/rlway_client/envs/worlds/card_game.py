"""A game for one: come close to 21.

In:      an action: 0 draws a card, 1 stops.
Out:     the sum of the cards drawn, int32[1].

A card is 1 to 10 with equal probability. The game ends when the player stops, or at a sum of 21 or more. It then pays
the sum minus 21, or −21 for a sum above 21; every other step pays 0. TF-Agents' guide to environments builds this game.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlway_client.contract.specs import AnyArray

DRAW, STOP = 0, 1
HIGHEST_CARD, TARGET = 10, 21
HIGHEST_SUM = TARGET - 1 + HIGHEST_CARD

PIXELS_PER_POINT, HEIGHT_PIXELS = 16, 64
WHITE, GREY, BLUE, RED = (255, 255, 255), (107, 114, 128), (37, 99, 235), (220, 38, 38)


class CardGame(gymnasium.Env[NDArray[np.int32], int]):
    """Draw or stop."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  # as gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = Box(0, HIGHEST_SUM, (1,), np.int32)
        self.action_space = Discrete(2)  # type: ignore[assignment]  # its actions are numpy's int64
        self.render_mode = render_mode
        self.sum = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int32], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.sum = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[NDArray[np.int32], float, bool, bool, dict[str, Any]]:
        if action == DRAW:
            self.sum += int(self.np_random.integers(1, HIGHEST_CARD + 1))
        ended = action == STOP or self.sum >= TARGET
        reward = 0.0
        if ended:
            reward = float(self.sum - TARGET if self.sum <= TARGET else -TARGET)
        return self._observation(), reward, ended, False, {}

    def _observation(self) -> NDArray[np.int32]:
        return np.array([self.sum], np.int32)

    def render(self) -> AnyArray:  # -> uint8[64, 480, 3]
        """The sum as a bar, and a line at 21."""
        picture = np.empty((HEIGHT_PIXELS, HIGHEST_SUM * PIXELS_PER_POINT, 3), np.uint8)
        picture[:] = WHITE
        picture[16:-16, : self.sum * PIXELS_PER_POINT] = RED if self.sum > TARGET else BLUE
        picture[:, TARGET * PIXELS_PER_POINT - 2 : TARGET * PIXELS_PER_POINT + 2] = GREY
        return picture
