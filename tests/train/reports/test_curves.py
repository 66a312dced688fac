"""What is in the pictures: their words, and their points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rlway_train.collect.evaluator import EvaluationResult
from rlway_train.reports.curves import plot_learning_curve


def row(step: int, mean: float, episodes: int = 20, **interval: float) -> dict[str, Any]:
    return {"step": step, "iteration": step, "mean_return": mean, "std_return": 0.0, "episodes": episodes, **interval}


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Draws a learning curve of seed 0 and returns its figure."""
    kept: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(plt, "close", kept.append)  # the figure is looked at once it is drawn

        def drawn(*arguments: Any) -> Any:
            plot_learning_curve(tmp_path / "curve.png", "a title", *arguments)
            assert (tmp_path / "curve.png").stat().st_size > 10_000
            return kept[-1]

        yield drawn
    for figure in kept:
        plt.close(figure)


def played(*returns: float) -> EvaluationResult:
    return EvaluationResult(np.array(returns), np.ones(len(returns)))


@pytest.mark.parametrize(
    ("best", "final", "at_random", "threshold", "says"),
    [
        (0.84, 0.84, -1.2345, 0.84, ["0.84 at 1,000 steps", "0.84", "counts as solved: 0.84", "-1.23"]),
        (474.98, 460.0, 22.3, 475.0, ["474.98 at 1,000 steps", "460", "counts as solved: 475", "22.3"]),
        (500.0, 499.5, 22.34, None, ["500 at 1,000 steps", "499.5", "22.34"]),
    ],
)
def test_the_legend_tells_its_numbers_apart(
    best: float, final: float, at_random: float, threshold: float | None, says: list[str], draw: Callable[..., Any]
) -> None:
    """A best of 0.84 has reached a threshold of 0.84, and one of 474.98 has not reached 475."""
    rows = [row(0, at_random), row(1_000, best, 100)]
    figure = draw(rows, 1_000, played(final, final), at_random, threshold)
    kinds = [
        "best checkpoint: ",
        "the same over 2 fresh episodes: ",
        *[""] * (threshold is not None),
        "random actions: ",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "evaluation over 20 episodes",
        "evaluation over 100 episodes",
        *(kind + said for kind, said in zip(kinds, says, strict=True)),
    ]


def test_every_evaluation_is_a_point_with_its_interval(draw: Callable[..., Any]) -> None:
    """Those of few episodes, confirmed ones, rows of an older run without intervals. Fresh episodes stand beside."""
    rows = [
        row(0, 10.0),
        row(1_000, 200.0, 100, low_return=190.0, high_return=212.0),
        row(2_000, 100.0, low_return=70.0, high_return=140.0),
    ]
    (axes,) = draw(rows, 1_000, played(150.0, 180.0, 210.0, 240.0), 20.0, None).axes
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert points["evaluation over 20 episodes"] == [[0, 10], [2_000, 100]]
    assert points["evaluation over 100 episodes"] == [[1_000, 200]]
    assert points["best checkpoint: 200 at 1,000 steps"] == [[1_000, 200]]
    assert [bar.tolist() for bar in axes.collections[0].get_segments()] == [
        [[0, 10], [0, 10]],
        [[1_000, 190], [1_000, 212]],
        [[2_000, 70], [2_000, 140]],
    ]
    ((x, mean),) = points["the same over 4 fresh episodes: 195"]
    assert (x > 2_000, mean) == (True, 195)
    ((_, low), (_, high)) = next(ends for ends in points.values() if ends[0][0] == x and len(ends) == 2)
    assert 150 <= low < 195 < high <= 240
