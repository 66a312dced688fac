"""The 3×4 grid world of the textbooks: a wall, a goal, a trap.

In:      an action: 0 up, 1 down, 2 left, 3 right.
Out:     the cell as float32[12], 1 where the agent is and 0 elsewhere; row by row from the upper left.

    ┌────┬────┬────┬────┐
    │    │    │    │ +1 │     Goal and trap end the episode and pay +1 and −1. Every other step costs `step_cost`.
    ├────┼────┼────┼────┤     A step against the wall or the border leaves the agent where it is. Only the first cell
    │    │ ██ │    │ −1 │     may be random, with `random_start`: any cell but the wall, the goal and the trap.
    ├────┼────┼────┼────┤
    │ S  │    │    │    │
    └────┴────┴────┴────┘
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlway_client.contract.specs import AnyArray, FloatArray

ROWS, COLUMNS = 3, 4
CELLS = ROWS * COLUMNS
START, WALL, GOAL, TRAP = (2, 0), (1, 1), (0, 3), (1, 3)
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right
FREE = tuple(
    (row, column) for row in range(ROWS) for column in range(COLUMNS) if (row, column) not in (WALL, GOAL, TRAP)
)

CELL_PIXELS = 64
WHITE, SLATE, GREEN, RED, BLUE = (255, 255, 255), (71, 85, 105), (187, 247, 208), (254, 202, 202), (37, 99, 235)


class GridWorld(gymnasium.Env[FloatArray, int]):
    """Find the way round the wall, past the trap."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  # as gymnasium has it

    def __init__(self, step_cost: float = 0.04, random_start: bool = False, render_mode: str | None = None) -> None:
        self.observation_space = Box(0.0, 1.0, (CELLS,), np.float32)
        self.action_space = Discrete(len(MOVES))  # type: ignore[assignment]  # its actions are numpy's int64
        self.step_cost, self.random_start, self.render_mode = step_cost, random_start, render_mode
        self.cell = START

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.cell = FREE[int(self.np_random.integers(len(FREE)))] if self.random_start else START
        return one_hot(self.cell), {}

    def step(self, action: int) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        self.cell = neighbour(self.cell, int(action))
        reward = {GOAL: 1.0, TRAP: -1.0}.get(self.cell, -self.step_cost)
        return one_hot(self.cell), reward, self.cell in (GOAL, TRAP), False, {}

    def render(self) -> AnyArray:  # -> uint8[192, 256, 3]
        picture = np.empty((ROWS, COLUMNS, CELL_PIXELS, CELL_PIXELS, 3), np.uint8)
        picture[:] = WHITE
        for cell, colour in ((WALL, SLATE), (GOAL, GREEN), (TRAP, RED)):
            picture[cell] = colour
        picture[:, :, [0, -1]] = picture[:, :, :, [0, -1]] = SLATE
        picture[self.cell][16:-16, 16:-16] = BLUE
        return picture.transpose(0, 2, 1, 3, 4).reshape(ROWS * CELL_PIXELS, COLUMNS * CELL_PIXELS, 3)


def one_hot(cell: tuple[int, int]) -> FloatArray:  # -> [12]
    """The observation in a cell."""
    row, column = cell
    observation = np.zeros(CELLS, np.float32)
    observation[row * COLUMNS + column] = 1.0
    return observation


def neighbour(cell: tuple[int, int], action: int) -> tuple[int, int]:
    """Where the action leads: to the cell itself at a border or the wall."""
    row, column = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
    stays = not (0 <= row < ROWS and 0 <= column < COLUMNS) or (row, column) == WALL
    return cell if stays else (row, column)
