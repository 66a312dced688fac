"""The learning curve as a picture.

In:      the rows of evaluations.csv, and what to compare them with.
Out:     learning_curve.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot chooses one that needs a display

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#6b7280"


def plot_learning_curve(
    path: Path,
    title: str,
    rows: Sequence[dict[str, float]],
    best_iteration: int,
    random_return: float,
    threshold: float | None,
) -> None:
    steps = [row["step"] for row in rows]
    means = [row["mean_return"] for row in rows]
    low = [row["mean_return"] - row["std_return"] for row in rows]
    high = [row["mean_return"] + row["std_return"] for row in rows]
    best = next(row for row in rows if row["iteration"] == best_iteration)

    figure, axes = plt.subplots(figsize=(8, 5), dpi=120, layout="constrained")
    axes.fill_between(steps, low, high, color=BLUE, alpha=0.15, linewidth=0, label="± one standard deviation")
    axes.plot(steps, means, color=BLUE, linewidth=2, label="mean return of the greedy policy")
    axes.axhline(random_return, color=GREY, linewidth=1.2, linestyle=":", label=f"random actions: {random_return:.0f}")
    if threshold is not None:
        axes.axhline(threshold, color=GREY, linewidth=1.2, linestyle="--", label=f"counts as solved: {threshold:g}")
    axes.plot(
        best["step"], best["mean_return"], "o", color=ORANGE, markersize=9, markeredgecolor="white", zorder=5,
        label=f"best: {best['mean_return']:.1f} at {best['step']:,.0f} steps",
    )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return per episode")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Below the axes: inside them a curve that wanders finds every corner.
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path)
    plt.close(figure)
