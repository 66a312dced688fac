"""The words in the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from rlway_train.reports.curves import plot_learning_curve


def row(step: int, mean: float) -> dict[str, Any]:
    return {"step": step, "iteration": step, "mean_return": mean, "std_return": 0.0}


@pytest.mark.parametrize(
    ("best", "at_random", "threshold", "says"),
    [
        (0.84, -1.2345, 0.84, ["random actions: -1.23", "counts as solved: 0.84", "best: 0.84 at 1,000 steps"]),
        (474.98, 22.3, 475.0, ["random actions: 22.3", "counts as solved: 475", "best: 474.98 at 1,000 steps"]),
        (500.0, 22.34, None, ["random actions: 22.3", "best: 500 at 1,000 steps"]),
    ],
)
def test_the_legend_tells_its_numbers_apart(
    best: float,
    at_random: float,
    threshold: float | None,
    says: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A best of 0.84 has reached a threshold of 0.84, and one of 474.98 has not reached 475."""
    kept: list[Any] = []
    monkeypatch.setattr(plt, "close", kept.append)  # the figure is looked at once it is drawn
    rows = [row(0, at_random), row(1_000, best)]
    plot_learning_curve(tmp_path / "curve.png", "a title", rows, 1_000, at_random, threshold)
    (figure,) = kept
    monkeypatch.undo()
    plt.close(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()][2:] == says
    assert (tmp_path / "curve.png").stat().st_size > 10_000
