"""The loop of a training, whatever the algorithm: steps, updates, evaluations, checkpoints.

In:      `Plan`, the run folder's record.
Out:     the learner, its best weights, and what the training has been through.
Refuses: what the environment, the learner and the folder refuse. What has been learned until then is saved.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.errors import RlwayError, UsageError
from rlway_client.specs import FloatArray
from rlway_train.acting import Policy
from rlway_train.checkpoint import Saved
from rlway_train.collector import Collector
from rlway_train.environment import Domain
from rlway_train.evaluation import Evaluation, Evaluator
from rlway_train.gathering import make_gathering
from rlway_train.history import Best
from rlway_train.interruption import uninterrupted
from rlway_train.learner import Learner, TrainingDiverged
from rlway_train.plan import Plan
from rlway_train.progress import Reporter, State
from rlway_train.record import Record
from rlway_train.seeds import Purpose, seed_for
from rlway_train.spaces import unpack
from rlway_train.worker import CollectorProcess

if TYPE_CHECKING:
    from rlway_train.exchange import Exchange
    from rlway_train.experience import Received

SAVE_AFTER_S = 60.0  # evaluations may be further apart than anyone wants to lose


class Training:
    """The loop: collect a block of steps, run a block of updates, now and then evaluate."""

    def __init__(
        self,
        plan: Plan[Any],
        domain: Domain,
        learner: Learner[Any],
        record: Record,
        reporter: Reporter,
        exchange: Exchange | None = None,
    ) -> None:
        self._plan, self._domain, self._record, self._reporter = plan, domain, record, reporter
        settings, history = plan.settings, record.history
        self.history = history
        self._start_s = time.perf_counter() - history.wall_s
        self._saved_s = self._start_s
        self.learner = learner
        self.evaluator = Evaluator(domain.make_many(settings.eval_episodes, one_episode=True))
        self._collector = self._make_collector(seed_for(plan.seed, Purpose.COLLECTION, history.resumptions), exchange)
        self._earlier_returns = history.returns
        self.state = State(history.step, mean_return=history.rows[-1]["mean_return"] if history.rows else np.nan)
        self._best_weights: list[FloatArray] = []

    def _make_collector(self, seed: int, exchange: Exchange | None) -> Collector | CollectorProcess | Received:
        settings = self._plan.settings
        if exchange is not None:
            from rlway_train.experience import Received

            return Received(
                exchange, self.learner, self._plan.env, self._plan.seed, self.history.step, self._reporter.note
            )
        gathering = make_gathering(settings, self._domain, settings.envs)
        if settings.collect_process:
            return CollectorProcess(self._domain, settings.envs, seed, gathering)
        return Collector(self._domain.make_many(settings.envs), seed, gathering)

    def close(self) -> None:
        """Ends the collecting; evaluations and films may follow."""
        self._collector.close()

    def run(self) -> None:
        settings, learner, history = self._plan.settings, self.learner, self.history
        self._reporter.begin(history.step)
        self._record.save_policies(learner)
        if history.step:
            learner.episodes_ended(len(history.returns))
            self._best_weights = self._record.restore(learner)
            # Evaluations may be further apart, or closer, than they were.
            latest = int(history.rows[-1]["step"]) if history.rows else settings.initial_steps
            history.next_evaluation = self._evaluation_after(latest)
        else:
            learner.write(self._collector.collect(learner.random, settings.initial_steps))
            history.step = self._collector.taken
            history.next_evaluation = self._evaluation_after(history.step)
            if self._enough:
                raise UsageError(
                    f"--episodes: expected more than end within the {history.step} random steps at first, got "
                    f"{settings.episodes}; lower --initial-steps."
                )
        try:
            traced = False
            while not self._ended():
                self._block(timed=traced)
                traced = True
        except TrainingDiverged:  # these weights are not worth keeping
            raise
        except (RlwayError, KeyboardInterrupt, SystemExit):
            if learner.iterations > 0:
                self._save()
            raise
        self._record.save_checkpoint(learner.iterations, self.wall_s)
        self._save()
        self._collector.end()

    @property
    def best(self) -> Best:
        assert self.history.best is not None  # the last block is always evaluated
        return self.history.best

    @property
    def best_policy(self) -> Policy:
        return self.learner.policy(self._best_weights)

    @property
    def training_returns(self) -> list[float]:
        """Of the episodes that collecting ended, in order."""
        return self._earlier_returns + self._collector.returns

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._start_s

    def _block(self, timed: bool) -> None:
        """The first block of a process traces and compiles: it is no measure of the rate."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        start_s = time.perf_counter()
        rows = self._collector.collect_ahead(learner.exploring(history.step), settings.block_steps)
        with uninterrupted():
            loss = learner.learn(rows, history.step / settings.steps)
            if timed:
                history.timed_s += time.perf_counter() - start_s
                history.timed_iterations += settings.block_iterations
            history.step += self._collector.taken
            ended = self._episodes_ended
            history.blocks.append((ended, loss))
            learner.episodes_ended(ended)
            if settings.save_every is not None and history.step - history.saved_step >= settings.save_every:
                self._record.save_checkpoint(learner.iterations, self.wall_s)
                history.saved_step = history.step
        self._show()
        if time.perf_counter() - self._saved_s > SAVE_AFTER_S:
            self._save()

    @property
    def _episodes_ended(self) -> int:
        return len(self._earlier_returns) + len(self._collector.returns)

    @property
    def _enough(self) -> bool:
        """Whether as many training episodes have ended as there shall be."""
        episodes: int | None = self._plan.settings.episodes
        return episodes is not None and self._episodes_ended >= episodes

    def _ended(self) -> bool:
        """Whether the training is over; evaluates where that is due."""
        settings, history = self._plan.settings, self.history
        over = history.step >= settings.steps or self._enough
        evaluated = bool(history.rows) and history.rows[-1]["step"] == history.step
        if history.step >= history.next_evaluation or (over and not evaluated):
            self._evaluate()
        return over or self._reached()

    def _reached(self) -> bool:
        """Whether the latest evaluation is the best, and good enough to end with."""
        goal, best = self._plan.settings.stop_return, self.history.best
        return (
            goal is not None
            and best is not None
            and best.iteration == self.learner.iterations
            and best.evaluation.mean_return >= goal
        )

    def _evaluation_after(self, step: int) -> int:
        every: int = self._plan.settings.eval_every
        return (step // every + 1) * every

    def _show(self) -> None:
        state, history = self.state, self.history
        state.step, state.loss = history.step, history.blocks[-1][1]
        state.exploration = self.learner.exploration(history.step)
        state.iterations_per_s = history.iterations_per_s
        self._reporter.update(state)

    def _evaluate(self) -> None:
        """Evaluates, and keeps the checkpoint if it is the best."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        weights = learner.weights()
        turn = history.evaluations
        evaluation = self._episodes(weights, settings.eval_episodes, turn + 1)
        best = history.best.evaluation.mean_return if history.best else -np.inf
        confirm = settings.confirm_episodes > 0 and evaluation.mean_return >= best
        if confirm:
            # The best of many noisy means is a lucky one; more episodes tell luck from skill.
            evaluation += self._episodes(weights, settings.confirm_episodes, turn + 2)
        with uninterrupted():
            history.evaluations += 1 + confirm
            self._keep(evaluation, weights, evaluation.mean_return >= best)
            self._save()

    def _keep(self, evaluation: Evaluation, weights: list[FloatArray], is_best: bool) -> None:
        learner, history = self.learner, self.history
        iteration, step = learner.iterations, history.step
        history.next_evaluation = self._evaluation_after(step)
        if is_best:
            self._record.save_observations(unpack(self.evaluator.recall(), self._domain.leaves))
            self._record.save_checkpoint(iteration, self.wall_s)
            history.best = Best(iteration, evaluation.returns.tolist(), evaluation.lengths.tolist())
            self._best_weights = weights
        self._record.add_evaluation(step, iteration, self.wall_s, evaluation)
        explored = learner.exploration(step)
        self._record.summarize(
            step,
            {
                "training/loss": self.state.loss,
                f"training/{explored.name}": explored.value,
                "training/iterations_per_s": history.iterations_per_s,
                "training/return": float(np.mean(self.training_returns[-100:] or [0.0])),
            },
        )
        settings = self._plan.settings
        if settings.run_stats:
            self._record.keep_run_stats(step, self.training_returns, settings.envs)
        self.state.mean_return = evaluation.mean_return
        self._reporter.evaluated(self.state, is_best)

    def _episodes(self, weights: list[FloatArray], episodes: int, turn: int) -> Evaluation:
        seed = seed_for(self._plan.seed, Purpose.EVALUATION, turn)
        return self.evaluator.evaluate(self.learner.policy(weights), episodes, seed)

    def _save(self) -> None:
        """Writes the checkpoint that a resumed training begins with."""
        plan, history = self._plan, self.history
        history.wall_s = self.wall_s
        history.returns = self.training_returns
        saved = Saved(
            algorithm=self.learner.algorithm,
            env=plan.env,
            preset=plan.preset,
            seed=plan.seed,
            settings=msgspec.to_builtins(plan.settings),
            observation=self._domain.leaves,
            action=self._domain.action,
            history=history,
        )
        with uninterrupted():
            self._record.save(saved, self.learner, self._best_weights)
        self._saved_s = time.perf_counter()
