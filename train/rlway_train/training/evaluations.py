"""The evaluations of a training: they decide which checkpoint is the best.

In:      the learner, at the steps where an evaluation is due.
Out:     evaluations.csv, checkpoints and visited observations in the run folder; the best weights so far.
Refuses: what the environment and the folder refuse.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_train.agents.learner import Learner
from rlway_train.collect.evaluator import EvaluationResult, Evaluator
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.envs.domain import Domain
from rlway_train.envs.spaces import unpack
from rlway_train.policies.numpy import BatchPolicy
from rlway_train.runs.history import BestCheckpoint
from rlway_train.runs.run_folder import RunFolder
from rlway_train.training.plan import Plan


class Played(NamedTuple):
    """An evaluation that is not in the run folder yet."""

    result: EvaluationResult
    weights: list[FloatArray]
    rounds: int  # of episodes, each with its own seed
    is_best: bool


class Evaluations:
    """Plays episodes with the learner's weights, and keeps the best weights."""

    def __init__(self, plan: Plan[Any], domain: Domain, learner: Learner[Any], run_folder: RunFolder) -> None:
        self._plan, self._domain, self._learner, self._run_folder = plan, domain, learner, run_folder
        self._history = run_folder.history
        few = domain.make_many(plan.settings.eval_episodes, one_episode=True)
        self.evaluator = Evaluator(few, domain.make_many if few.are_vectorized else None)
        self.best_weights: list[FloatArray] = []

    @property
    def best(self) -> BestCheckpoint:
        assert self._history.best is not None  # the last block is always evaluated
        return self._history.best

    @property
    def best_policy(self) -> BatchPolicy:
        return self._learner.policy(self.best_weights)

    @property
    def reached_goal(self) -> bool:
        """Whether the latest evaluation is the best one, and reaches the return that ends the training."""
        goal, best = self._plan.settings.stop_return, self._history.best
        return (
            goal is not None
            and best is not None
            and best.iteration == self._learner.iterations
            and best.evaluation.mean_return >= goal
        )

    def due_after(self, step: int) -> int:
        """The step of the next evaluation after this step."""
        every: int = self._plan.settings.eval_every
        return (step // every + 1) * every

    def untrained(self, wall_s: float) -> EvaluationResult:
        """The first point of the curve. These weights are never the best, and their observations are not kept."""
        # The turns of later evaluations begin with 1.
        result = self._episodes(self._learner.weights(), self._plan.settings.eval_episodes, turn=0)
        self._run_folder.add_evaluation(0, self._learner.iterations, wall_s, result)
        return result

    def play(self) -> Played:
        """Evaluates the present weights."""
        settings, history = self._plan.settings, self._history
        weights, turn = self._learner.weights(), history.evaluations
        result = self._episodes(weights, settings.eval_episodes, turn + 1)
        best = history.best.evaluation.mean_return if history.best else -np.inf
        confirm = settings.confirm_episodes > 0 and result.mean_return >= best
        if confirm:
            # The best of many noisy means is a lucky one. More episodes tell luck from skill.
            result += self._episodes(weights, settings.confirm_episodes, turn + 2)
        return Played(result, weights, 1 + confirm, result.mean_return >= best)

    def keep(self, played: Played, wall_s: float) -> None:
        """Writes an evaluation, and the checkpoint if it is the best."""
        history, iteration, result = self._history, self._learner.iterations, played.result
        history.evaluations += played.rounds
        history.next_evaluation = self.due_after(history.step)
        if played.is_best:
            self._run_folder.save_observations(unpack(self.evaluator.visited(), self._domain.leaves))
            self._run_folder.save_checkpoint(iteration, wall_s)
            history.best = BestCheckpoint(iteration, result.returns.tolist(), result.lengths.tolist())
            self.best_weights = played.weights
        self._run_folder.add_evaluation(history.step, iteration, wall_s, result)

    def _episodes(self, weights: list[FloatArray], episodes: int, turn: int) -> EvaluationResult:
        seed = seed_for(self._plan.seed, Purpose.EVALUATION, turn)
        return self.evaluator.evaluate(self._learner.policy(weights), episodes, seed, keep=turn > 0)
