"""The loop of a training, whatever the algorithm: steps, updates, evaluations, checkpoints.

In:      a plan, a learner, the run folder.
Out:     the trained learner, its best weights, and the history of the training.
Refuses: what the environment, the learner and the folder refuse. What has been learned so far is saved.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_train.agents.learner import Learner, TrainingDiverged
from rlway_train.collect.adders.factory import make_adder
from rlway_train.collect.collector import Collector, LocalCollector
from rlway_train.collect.collector_process import CollectorProcess
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.common.signals import signals_held
from rlway_train.envs.domain import Domain
from rlway_train.runs.checkpoint import SavedTraining
from rlway_train.runs.run_folder import RunFolder
from rlway_train.training.evaluations import Evaluations
from rlway_train.training.loss_log import LossLog
from rlway_train.training.plan import Plan
from rlway_train.training.progress import EVALUATING, TRAINING, Reporter, TrainingStatus

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel

SAVE_AFTER_S = 60.0  # since the last save, because evaluations may be far apart
RANDOM_STEPS = 500  # at a time, so that progress is shown


class TrainingLoop:
    """Collects a block of steps, runs a block of updates, evaluates if an evaluation is due, and repeats."""

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
        history = run_folder.history
        self.history = history
        self._start_s = time.perf_counter() - history.wall_s
        self._saved_s = self._start_s
        self.learner = learner
        self.evaluations = Evaluations(plan, domain, learner, run_folder)
        self._collects_here = channel is None
        self._collector = self._make_collector(seed_for(plan.seed, Purpose.COLLECTION, history.resumptions), channel)
        self._earlier_returns = history.returns
        self.status = TrainingStatus(history.step)
        self._take_evaluations()

    def _make_collector(self, seed: int, channel: Channel | None) -> Collector:
        settings = self._plan.settings
        if channel is not None:
            from rlway_train.distributed.remote_collector import RemoteCollector

            env, seed, step = self._plan.env, self._plan.seed, self.history.step
            return RemoteCollector(channel, self.learner, env, seed, step, self._reporter.note, self._arrived)
        adder = make_adder(settings, self._domain, settings.envs)
        if settings.collect_process:
            return CollectorProcess(self._domain, settings.envs, seed, adder)
        return LocalCollector(self._domain.make_many(settings.envs), seed, adder)

    def close(self) -> None:
        """Closes the collector. Evaluations and films may still follow."""
        self._collector.close()

    def run(self) -> None:
        """Trains until the steps, the episodes or the return of the settings are reached."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        self._run_folder.save_policies(learner)
        if history.step:
            self._resume()
        self.status.episodes = self._episodes_ended
        self._reporter.begin(self.status)
        if not history.step:
            self._begin()
        self._log = LossLog(settings.log_every, learner.iterations, self._run_folder.log, rate=settings.replay == "tf")
        self._reporter.stage("compiling")
        try:
            traced = False
            while not self._ended():
                self._block(timed=traced)
                if not traced:  # the time left is not estimated from the block that compiles
                    self._reporter.begin(self.status)
                traced = True
        except TrainingDiverged:  # these weights are not worth saving
            raise
        except (RlwayError, KeyboardInterrupt, SystemExit):
            if learner.iterations > 0:
                self._save()
            raise
        self._run_folder.save_checkpoint(learner.iterations, self.wall_s)
        self._save()
        self._collector.end()

    @property
    def training_returns(self) -> list[float]:
        """The returns of the episodes that were collected, in order."""
        return self._earlier_returns + self._collector.returns

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._start_s

    def _resume(self) -> None:
        learner, history = self.learner, self.history
        learner.episodes_ended(len(history.returns))
        self.evaluations.best_weights = self._run_folder.restore(learner)
        # The resumed training may evaluate more or less often than before.
        evaluated = int(history.rows[-1]["step"]) if history.rows else 0
        history.next_evaluation = self.evaluations.due_after(max(evaluated, self._plan.settings.initial_steps))

    def _begin(self) -> None:
        history, settings = self.history, self._plan.settings
        self._reporter.stage(EVALUATING)
        self.evaluations.untrained(self.wall_s)
        self._show_evaluation("untrained")
        self._collect_at_random()
        history.next_evaluation = self.evaluations.due_after(history.step)
        if self._enough_episodes:
            raise UsageError(
                f"--episodes: expected more than end within the {history.step} random steps at first, got "
                f"{settings.episodes}; lower --initial-steps."
            )

    def _collect_at_random(self) -> None:
        """Fills the replay before the first update."""
        learner, wanted, history = self.learner, self._plan.settings.initial_steps, self.history
        self._reporter.stage("random steps")
        # What actors collect arrives in one call, which reports its progress through `_arrived`.
        part = RANDOM_STEPS if self._collects_here else wanted
        for start in range(0, max(wanted, 1), max(part, 1)):
            learner.write(self._collector.collect(learner.random, min(part, wanted - start)))
            history.step += self._collector.taken
            self._arrived(history.step)

    def _arrived(self, step: int) -> None:
        """Shows how many environment steps have been collected."""
        self.status.step = step
        self._reporter.update(self.status)

    def _block(self, timed: bool) -> None:
        """One block of steps and updates. The first block of a process compiles, so its time is not counted."""
        settings, learner, history = self._plan.settings, self.learner, self.history
        start_s = time.perf_counter()
        rows = self._collector.collect_ahead(learner.exploring(history.step), settings.block_steps)
        with signals_held():
            loss = learner.learn(rows, history.step)
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
    def _enough_episodes(self) -> bool:
        """Whether as many training episodes have ended as the settings ask for."""
        episodes: int | None = self._plan.settings.episodes
        return episodes is not None and self._episodes_ended >= episodes

    def _ended(self) -> bool:
        """Whether the training is over. Evaluates if an evaluation is due."""
        settings, history = self._plan.settings, self.history
        over = history.step >= settings.steps or self._enough_episodes
        evaluated = bool(history.rows) and history.rows[-1]["step"] == history.step
        if history.step >= history.next_evaluation or (over and not evaluated):
            self._evaluate(over)
        return over or self.evaluations.reached_goal

    def _evaluate(self, over: bool) -> None:
        self._reporter.stage(EVALUATING)
        played = self.evaluations.play()
        with signals_held():
            self.evaluations.keep(played, self.wall_s)
            self._summarize()
            self._show_evaluation("best" * played.is_best, over or self.evaluations.reached_goal)
            self._save()
        self._reporter.stage(TRAINING)

    def _summarize(self) -> None:
        """Writes what TensorBoard shows besides the evaluation."""
        settings, history, step = self._plan.settings, self.history, self.history.step
        level, returns = self.learner.exploration_level(step), self.training_returns
        self._log.flush(step)
        values = {f"training/{level.name}": level.value, "training/iterations_per_s": history.iterations_per_s}
        if returns:
            values["training/return"] = float(np.mean(returns[-100:]))
        self._run_folder.summarize(step, values)
        if settings.run_stats:
            self._run_folder.keep_run_stats(step, returns, settings.envs)

    def _show(self) -> None:
        status, history = self.status, self.history
        status.step, (status.episodes, status.loss) = history.step, history.blocks[-1]
        status.exploration_level = self.learner.exploration_level(history.step)
        status.iterations_per_s = history.iterations_per_s
        self._reporter.stage(TRAINING)
        self._reporter.update(status)

    def _show_evaluation(self, mark: str = "", over: bool = False) -> None:
        self._take_evaluations()
        self._reporter.evaluated(self.status, mark, over)

    def _take_evaluations(self) -> None:
        """Takes what evaluations have found so far, also those before a resumption, into the status."""
        status, rows, best = self.status, self.history.rows, self.history.best_row
        if rows:
            status.mean_return, status.std_return = rows[-1]["mean_return"], rows[-1]["std_return"]
            status.first_return = rows[0]["mean_return"] if rows[0]["step"] == 0 else math.nan
            status.evaluations = self.history.candidates
            status.unconfirmed = min(1.0, self._plan.settings.eval_episodes / rows[-1]["episodes"])
        if best is not None:
            status.best_return, status.best_std = best["mean_return"], best["std_return"]
            status.best_step = int(best["step"])

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
            self._run_folder.save(saved, self.learner, self.evaluations.best_weights)
        self._saved_s = time.perf_counter()
