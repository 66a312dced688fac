"""The history of a training. With the weights and the replay, it is all that a resumed training needs.

In:      blocks, evaluations and checkpoints, as they happen.
Out:     `History`, which can be written as JSON.
"""

from __future__ import annotations

import msgspec
import numpy as np

from rlway_train.collect.evaluator import EvaluationResult


class BestCheckpoint(msgspec.Struct, frozen=True):
    """The checkpoint with the highest evaluation so far."""

    iteration: int
    returns: list[float]  # of the episodes that it was evaluated with
    lengths: list[int]

    @property
    def evaluation(self) -> EvaluationResult:
        return EvaluationResult(np.array(self.returns), np.array(self.lengths))


class History(msgspec.Struct):
    """Its counters continue when a training is resumed."""

    step: int = 0  # environment steps
    next_evaluation: int = 0  # step
    evaluations: int = 0  # rounds of episodes, each with its own seed
    saved_step: int = 0  # of the latest checkpoint that TrainingSettings.save_every asked for
    wall_s: float = 0.0
    timed_iterations: int = 0
    timed_s: float = 0.0  # of these iterations, without evaluations and start-up
    resumptions: int = 0
    rows: list[dict[str, int | float]] = []  # of evaluations.csv
    checkpoints: list[int] = []  # iterations
    returns: list[float] = []  # of the training episodes, in order
    blocks: list[tuple[int, float]] = []  # for each: how many training episodes had ended, and its loss
    best: BestCheckpoint | None = None

    @property
    def candidates(self) -> int:
        """How many checkpoints were evaluated, the untrained one excluded: the best is chosen among these."""
        return sum(row["step"] > 0 for row in self.rows)

    @property
    def best_row(self) -> dict[str, int | float] | None:
        """The evaluation of the best checkpoint; None while there is none."""
        iteration = self.best.iteration if self.best else None
        return next((row for row in self.rows if row["step"] > 0 and row["iteration"] == iteration), None)

    @property
    def iterations_per_s(self) -> float:
        return self.timed_iterations / self.timed_s if self.timed_s else 0.0
