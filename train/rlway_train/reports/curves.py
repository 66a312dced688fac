"""Curves of one training or of several, as pictures.

In:      the rows of evaluations.csv, with fresh episodes and returns to compare them with; training episodes and
         losses; groups of runs.
Out:     learning_curve.png; training_curve.png; one picture of all groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot chooses one that needs a display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter

from rlway_client.common.returns import show_together
from rlway_train.collect.evaluator import EvaluationResult
from rlway_train.reports.comparison import Group

BLUE, ORANGE, GREEN, GREY = "#2563eb", "#ea580c", "#16a34a", "#6b7280"
COLOURS = (BLUE, ORANGE, GREEN, "#9333ea", "#db2777", "#0891b2")  # of groups of runs, in turn


def plot_learning_curve(
    path: Path,
    title: str,
    rows: Sequence[Mapping[str, float]],
    best_iteration: int,
    final: EvaluationResult,
    random_return: float,
    threshold: float | None,
) -> None:
    """Every evaluation with its interval, the best checkpoint, and what fresh episodes gave that checkpoint.

    An evaluation of few episodes is a light point with a long bar; one that more episodes confirmed is a full point.
    """
    steps, means, episodes = (np.array([row[of] for row in rows]) for of in ("step", "mean_return", "episodes"))
    low, high = (np.array([row.get(of, row["mean_return"]) for row in rows]) for of in ("low_return", "high_return"))
    best = next(row for row in rows if row["iteration"] == best_iteration)
    side_by_side = [best["mean_return"], final.mean_return, random_return, *([] if threshold is None else [threshold])]
    best_shown, final_shown, random_shown, *threshold_shown = show_together(side_by_side)

    figure, axes = plt.subplots(figsize=(8, 5), dpi=120, layout="constrained")
    axes.plot(steps, means, color=BLUE, linewidth=1, alpha=0.45, zorder=2)
    axes.vlines(steps, low, high, color=BLUE, alpha=0.5, linewidth=1, zorder=2)
    legend = []
    for count in sorted({int(n) for n in episodes}):
        shown, most = episodes == count, count == episodes.max()
        legend += axes.plot(
            steps[shown], means[shown], "o", color=BLUE, markersize=5 if most else 4, clip_on=False, zorder=3,
            markerfacecolor=BLUE if most else "white", label=f"evaluation over {_many_episodes(count)}",
        )  # fmt: skip
    legend += axes.plot(
        best["step"], best["mean_return"], "o", color=ORANGE, markersize=9, markeredgecolor="white", zorder=5,
        label=f"best checkpoint: {best_shown} at {best['step']:,.0f} steps",
    )  # fmt: skip
    beside = steps.max() * 1.04  # the curve, so that its bar does not hide those of the evaluations
    if final.interval is not None:
        axes.plot([beside, beside], final.interval, color=GREEN, linewidth=2, marker="_", markersize=9, zorder=4)
    legend += axes.plot(
        beside, final.mean_return, "D", color=GREEN, markersize=7, markeredgecolor="white", zorder=5,
        label=f"the same over {_many_episodes(final.episodes, 'fresh ')}: {final_shown}",
    )  # fmt: skip
    if threshold is not None:
        solved = f"counts as solved: {threshold_shown[0]}"
        legend += [axes.axhline(threshold, color=GREY, linewidth=1.2, linestyle="--", label=solved)]
    at_random = f"random actions: {random_shown}"
    legend += [axes.axhline(random_return, color=GREY, linewidth=1.2, linestyle=":", label=at_random)]
    axes.set_title("bars: 95% intervals of the mean return", loc="right", fontsize=9, color=GREY)
    _finish_returns(figure, axes, title, path, legend_columns=2, handles=legend)


def _many_episodes(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}episode{'s' * (count != 1)}"


def plot_training(path: Path, title: str, returns: Sequence[float], blocks: Sequence[tuple[int, float]]) -> None:
    """The return of every training episode, and the mean loss while it ran.

    `blocks` has for each block of updates the number of episodes that had ended, and the mean loss.
    """
    ended, losses = np.array([block[0] for block in blocks]), np.array([block[1] for block in blocks])
    episodes, first = np.unique(ended, return_index=True)
    mean_losses = np.add.reduceat(losses, first) / np.diff(np.append(first, len(losses)))

    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 6), dpi=120, layout="constrained", sharex=True)
    upper.plot(np.arange(1, len(returns) + 1), returns, color=BLUE, linewidth=0.8, alpha=0.5)
    if len(returns) >= 40:
        window = len(returns) // 20
        smooth = np.convolve(returns, np.full(window, 1 / window), "valid")
        upper.plot(np.arange(window, len(returns) + 1), smooth, color=BLUE, linewidth=2)
    upper.set_ylabel("return of the episode")
    upper.set_title(title, loc="left", fontsize=13, fontweight="bold")
    lower.plot(episodes, mean_losses, color=ORANGE, linewidth=1)
    lower.set_ylabel("mean loss")
    lower.set_xlabel("training episodes")
    for axes in (upper, lower):
        axes.grid(axis="y", color="#e5e7eb")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def plot_comparison(path: Path, groups: Sequence[Group]) -> None:
    """Each group's mean return over its seeds, with a band of one standard deviation. Thin lines are single seeds."""
    figure, axes = plt.subplots(figsize=(8, 5), dpi=120, layout="constrained")
    for group, colour in zip(groups, cycle(COLOURS), strict=False):
        band, seeds = group.band(), len(group.curves)
        for curve in group.curves:
            axes.plot(curve.steps, curve.returns, color=colour, linewidth=0.8, alpha=0.35)
        axes.fill_between(band.steps, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
        many = f"{seeds} seeds" if seeds > 1 else "1 seed"
        axes.plot(band.steps, band.mean, color=colour, linewidth=2, label=f"{group.label} ({many})")
    _finish_returns(figure, axes, "Mean return over training, by seeds", path, legend_columns=1)


def _finish_returns(
    figure: Any, axes: Any, title: str, path: Path, legend_columns: int, handles: Sequence[Any] | None = None
) -> None:
    """Adds titles, axes and legend to a picture of returns over steps, and writes it.

    The legend has the handles in their order, or everything that has a label.
    """
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return per episode")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Below the axes, because a curve may pass through any corner inside them.
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=9)
    figure.savefig(path)
    plt.close(figure)
