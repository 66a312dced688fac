"""A map of the Q-values in the grid world: each cell's Q per action, and the greedy action.

In:      the greedy policy.
Out:     q_values.png: each cell in four triangles, one for each action, with an arrow for the greedy action.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot chooses one that needs a display

import matplotlib.pyplot as plt
import numpy as np

from rlway_client.envs.worlds.grid_world import COLUMNS, FREE, GOAL, MOVES, ROWS, START, TRAP, WALL, one_hot
from rlway_train.policies.numpy import GreedyPolicy

GRID_WORLD = "rlway/GridWorld-v0"
_NAMES = {WALL: ("", "#475569"), GOAL: ("+1", "#bbf7d0"), TRAP: ("−1", "#fecaca")}
_CORNERS = {(-1, 0): ((0, 0), (1, 0)), (1, 0): ((0, 1), (1, 1)), (0, -1): ((0, 0), (0, 1)), (0, 1): ((1, 0), (1, 1))}


def plot_q_values(path: Path, policy: GreedyPolicy) -> None:
    q_values = policy.q_values(np.stack([one_hot(cell) for cell in FREE]))  # [9, 4]
    largest = max(float(np.abs(q_values).max()), 1e-6)
    colours = plt.get_cmap("RdYlGn")
    figure, axes = plt.subplots(figsize=(8, 6.2), dpi=120, layout="constrained")
    for cell, values in zip(FREE, q_values, strict=True):
        y, x = cell
        best = int(values.argmax())
        for action, (move, value) in enumerate(zip(MOVES, values, strict=True)):
            corners = [(x + dx, y + dy) for dx, dy in _CORNERS[move]]
            axes.add_patch(
                plt.Polygon(
                    [*corners, (x + 0.5, y + 0.5)],
                    facecolor=colours(0.5 + 0.45 * float(value) / largest),
                    edgecolor="white",
                )
            )
            bold = "bold" if action == best else "normal"
            where = (x + 0.5 + 0.34 * move[1], y + 0.5 + 0.38 * move[0])
            axes.annotate(f"{value:.2f}", where, ha="center", va="center", fontsize=8, fontweight=bold)
        dy, dx = MOVES[best]
        axes.annotate(
            "",
            (x + 0.5 + 0.2 * dx, y + 0.5 + 0.2 * dy),
            (x + 0.5 - 0.2 * dx, y + 0.5 - 0.2 * dy),
            arrowprops={"arrowstyle": "-|>", "linewidth": 2.5, "color": "#111827"},
        )
    for (y, x), (name, colour) in _NAMES.items():
        axes.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white"))
        axes.annotate(name, (x + 0.5, y + 0.5), ha="center", va="center", fontsize=16, fontweight="bold")
    axes.annotate("start", (START[1] + 0.03, START[0] + 0.97), va="bottom", fontsize=8, color="#111827")
    axes.set_title("Q per cell and action, and the greedy way", loc="left", fontsize=13, fontweight="bold")
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(ROWS, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(path)
    plt.close(figure)
