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

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.contract.specs import FloatArray
from rlway_train.agents.learner import Learner, TrainingDiverged
from rlway_train.collect.adders.base import make_adder
from rlway_train.collect.collector import Collector
from rlway_train.collect.collector_process import CollectorProcess
from rlway_train.collect.evaluator import EvaluationResult, Evaluator
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.common.signals import signals_held
from rlway_train.envs.domain import Domain
from rlway_train.envs.spaces import unpack
from rlway_train.policies.numpy import BatchPolicy
from rlway_train.runs.checkpoint import SavedTraining
from rlway_train.runs.history import BestCheckpoint
from rlway_train.runs.run_folder import RunFolder
from rlway_train.training.loss_log import LossLog
from rlway_train.training.plan import Plan
from rlway_train.training.progress import TRAINING, Reporter, TrainingStatus

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel
    from rlway_train.distributed.remote_collector import RemoteCollector

SAVE_AFTER_S = 60.0  # evaluations may be further apart than anyone wants to lose
RANDOM_STEPS = 500  # at a time, so that there is something to tell


class TrainingLoop:
    """The loop: collect a block of steps, run a block of updates, now and then evaluate."""

    def __init__(
        self,
        plan: Plan[Any],
        domain: Domain,
        learner: Learner[Any],
        run_folder: RunFolder,
        reporter: Reporter,
        channel: Channel | None = None,
    ) -> None:
        self._plan, self._domain, self._run_folder, self._reporter = plan, domain, run_folder, reporter
        settings, history = plan.settings, run_folder.history
        self.history = history
        self._start_s = time.perf_counter() - history.wall_s
        self._saved_s = self._start_s
        self.learner = learner
        self._collects_here = channel is None
        self.evaluator = Evaluator(domain.make_many(settings.eval_episodes, one_episode=True))
        self._collector = self._make_collector(seed_for(plan.seed, Purpose.COLLECTION, history.resumptions), channel)
        self._earlier_returns = history.returns
        self.state = TrainingStatus(history.step)
        if history.rows:
            self.state.mean_return, self.state.std_return = (
                history.rows[-1][of] for of in ("mean_return", "std_return")
            )
        self._best_weights: list[FloatArray] = []

    def _make_collector(self, seed: int, channel: Channel | None) -> Collector | CollectorProcess | RemoteCollector:
        settings = self._plan.settings
        if channel is not None:
            from rlway_train.distributed.remote_collector import RemoteCollector

            env, seed, step = self._plan.env, self._plan.seed, self.history.step
            return RemoteCollector(channel, self.learner, env, seed, step, self._reporter.note, self._arrived)
        adder = make_adder(settings, self._domain, settings.envs)
        if settings.collect_process:
            return CollectorProcess(self._domain, settings.envs, seed, adder)
        return Collector(self._domain.make_many(settings.envs), seed, adder)

    def close(self) -> None:
        """Ends the collecting; evaluations and films may follow."""
        self._collector.close()

    def run(self) -> None:
        settings, learner, history = self._plan.settings, self.learner, self.history
        self._run_folder.save_policies(learner)
        if history.step:
            learner.episodes_ended(len(history.returns))
            self._best_weights = self._run_folder.restore(learner)
            # Evaluations may be further apart, or closer, than they were.
            evaluated = int(history.rows[-1]["step"]) if history.rows else 0
            history.next_evaluation = self._evaluation_after(max(evaluated, settings.initial_steps))
        self.state.episodes = self._episodes_ended
        self._reporter.begin(self.state)
        if not history.step:
            self._evaluate_untrained()
            self._collect_at_random()
            history.next_evaluation = self._evaluation_after(history.step)
            if self._enough:
                raise UsageError(
                    f"--episodes: expected more than end within the {history.step} random steps at first, got "
                    f"{settings.episodes}; lower --initial-steps."
                )
        self._log = LossLog(settings.log_every, learner.iterations, self._run_folder.log, rate=settings.replay == "tf")
        self._reporter.stage("compiling")
        try:
            traced = False
            while not self._ended():
                self._block(timed=traced)
                if not traced:  # what compiling took says nothing of how long the rest will take
                    self._reporter.begin(self.state)
                traced = True
        except TrainingDiverged:  # these weights are not worth keeping
            raise
        except (RlwayError, KeyboardInterrupt, SystemExit):
            if learner.iterations > 0:
                self._save()
            raise
        self._run_folder.save_checkpoint(learner.iterations, self.wall_s)
        self._save()
        self._collector.end()

    @property
    def best(self) -> BestCheckpoint:
        assert self.history.best is not None  # the last block is always evaluated
        return self.history.best

    @property
    def best_policy(self) -> BatchPolicy:
        return self.learner.policy(self._best_weights)

    @property
    def training_returns(self) -> list[float]:
        """Of the episodes that collecting ended, in order."""
        return self._earlier_returns + self._collector.returns

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._start_s

    def _collect_at_random(self) -> None:
        """Fills the replay before the first update."""
        learner, wanted, history = self.learner, self._plan.settings.initial_steps, self.history
        self._reporter.stage("random steps")
        # What actors send arrives by itself; how much of it there is, `_arrived` is told.
        part = RANDOM_STEPS if self._collects_here else wanted
        rows = []
        for start in range(0, max(wanted, 1), max(part, 1)):
            rows.append(self._collector.collect(learner.random, min(part, wanted - start)))
            history.step += self._collector.taken
            self._arrived(history.step)
        learner.write(np.concatenate(rows))

    def _arrived(self, step: int) -> None:
        """So many environment steps have been taken, which nothing has been learned from yet."""
        self.state.step = step
        self._reporter.update(self.state)

    def _block(self, timed: bool) -> None:
        """The first block of a process traces and compiles: it is no measure of the rate."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        start_s = time.perf_counter()
        rows = self._collector.collect_ahead(learner.exploring(history.step), settings.block_steps)
        with signals_held():
            loss = learner.learn(rows, history.step / settings.steps)
            took_s = time.perf_counter() - start_s
            if timed:
                history.timed_s += took_s
                history.timed_iterations += settings.block_iterations
            history.step += self._collector.taken
            self._log.add(history.step, settings.block_iterations, loss, took_s if timed else None)
            ended = self._episodes_ended
            history.blocks.append((ended, loss))
            learner.episodes_ended(ended)
            if settings.save_every is not None and history.step - history.saved_step >= settings.save_every:
                self._run_folder.save_checkpoint(learner.iterations, self.wall_s)
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
            self._evaluate(over)
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
        state.step, (state.episodes, state.loss) = history.step, history.blocks[-1]
        state.exploration_level = self.learner.exploration_level(history.step)
        state.iterations_per_s = history.iterations_per_s
        self._reporter.stage(TRAINING)
        self._reporter.update(state)

    def _evaluate_untrained(self) -> None:
        """Where the curve begins. These weights are not kept, and never the best; what they see is not recorded."""
        learner, episodes = self.learner, self._plan.settings.eval_episodes
        self._reporter.stage("evaluating")
        evaluation = self._episodes(learner.weights(), episodes, turn=0)  # those of training begin with turn 1
        self._run_folder.add_evaluation(0, learner.iterations, self.wall_s, evaluation)
        self._tell(evaluation, "untrained")

    def _tell(self, evaluation: EvaluationResult, mark: str = "", over: bool = False) -> None:
        self.state.mean_return, self.state.std_return = evaluation.mean_return, evaluation.std_return
        self._reporter.evaluated(self.state, mark, over)

    def _evaluate(self, over: bool) -> None:
        """Evaluates, and keeps the checkpoint if it is the best."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        self._reporter.stage("evaluating")
        weights = learner.weights()
        turn = history.evaluations
        evaluation = self._episodes(weights, settings.eval_episodes, turn + 1)
        best = history.best.evaluation.mean_return if history.best else -np.inf
        confirm = settings.confirm_episodes > 0 and evaluation.mean_return >= best
        if confirm:
            # The best of many noisy means is a lucky one; more episodes tell luck from skill.
            evaluation += self._episodes(weights, settings.confirm_episodes, turn + 2)
        with signals_held():
            history.evaluations += 1 + confirm
            self._keep(evaluation, weights, evaluation.mean_return >= best)
            self._tell(evaluation, "best" * (evaluation.mean_return >= best), over or self._reached())
            self._save()
        self._reporter.stage(TRAINING)

    def _keep(self, evaluation: EvaluationResult, weights: list[FloatArray], is_best: bool) -> None:
        learner, history = self.learner, self.history
        iteration, step = learner.iterations, history.step
        history.next_evaluation = self._evaluation_after(step)
        if is_best:
            self._run_folder.save_observations(unpack(self.evaluator.recall(), self._domain.leaves))
            self._run_folder.save_checkpoint(iteration, self.wall_s)
            history.best = BestCheckpoint(iteration, evaluation.returns.tolist(), evaluation.lengths.tolist())
            self._best_weights = weights
        self._run_folder.add_evaluation(step, iteration, self.wall_s, evaluation)
        explored, returns = learner.exploration_level(step), self.training_returns
        self._log.tell(step)
        self._run_folder.summarize(
            step,
            {
                f"training/{explored.name}": explored.value,
                "training/iterations_per_s": history.iterations_per_s,
            }
            | ({"training/return": float(np.mean(returns[-100:]))} if returns else {}),
        )
        settings = self._plan.settings
        if settings.run_stats:
            self._run_folder.keep_run_stats(step, returns, settings.envs)

    def _episodes(self, weights: list[FloatArray], episodes: int, turn: int) -> EvaluationResult:
        seed = seed_for(self._plan.seed, Purpose.EVALUATION, turn)
        return self.evaluator.evaluate(self.learner.policy(weights), episodes, seed, remember=turn > 0)

    def _save(self) -> None:
        """Writes the checkpoint that a resumed training begins with."""
        plan, history = self._plan, self.history
        history.wall_s = self.wall_s
        history.returns = self.training_returns
        saved = SavedTraining(
            algorithm=self.learner.algorithm,
            env=plan.env,
            preset=plan.preset,
            seed=plan.seed,
            settings=msgspec.to_builtins(plan.settings),
            observation=self._domain.leaves,
            action=self._domain.action,
            history=history,
        )
        with signals_held():
            self._run_folder.save(saved, self.learner, self._best_weights)
        self._saved_s = time.perf_counter()
