"""What a training has been through: with the weights and the replay, all that it needs to go on.

In:      nothing at first; then blocks, evaluations and checkpoints, as they happen.
Out:     `History`, which JSON can hold.
"""

from __future__ import annotations

import msgspec
import numpy as np

from rlway_train.collect.evaluator import EvaluationResult


class BestCheckpoint(msgspec.Struct, frozen=True):
    """The checkpoint with the highest evaluation so far."""

    iteration: int
    returns: list[float]  # of the episodes that it was chosen by
    lengths: list[int]

    @property
    def evaluation(self) -> EvaluationResult:
        return EvaluationResult(np.array(self.returns), np.array(self.lengths))


class History(msgspec.Struct):
    """Counters go on over an interruption, as if there had been none."""

    step: int = 0  # environment steps
    next_evaluation: int = 0  # step
    evaluations: int = 0  # rounds of episodes that were played; each has a seed of its own
    saved_step: int = 0  # when a checkpoint was kept, see Settings.save_every
    wall_s: float = 0.0
    timed_iterations: int = 0
    timed_s: float = 0.0  # that those took, evaluations and start-up excluded
    resumptions: int = 0
    rows: list[dict[str, int | float]] = []  # of evaluations.csv
    checkpoints: list[int] = []  # iterations
    returns: list[float] = []  # of the training episodes, in order
    blocks: list[tuple[int, float]] = []  # after each: the training episodes ended so far, and its loss
    best: BestCheckpoint | None = None

    @property
    def iterations_per_s(self) -> float:
        return self.timed_iterations / self.timed_s if self.timed_s else 0.0
