"""The training of a policy, from an environment to a finished run folder, whatever the algorithm.

In:      `Job`.
Out:     `Run`, and the folder that it describes.
Refuses: what the environment, the learner and the folder refuse.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rlway_client.run import Run
from rlway_train.acting import GreedyPolicy, Policy
from rlway_train.collector import Collector
from rlway_train.environment import Domain
from rlway_train.evaluation import Evaluation, Evaluator
from rlway_train.grid_picture import GRID_WORLD, plot_q_values
from rlway_train.learner import Learner
from rlway_train.plot import plot_learning_curve, plot_training
from rlway_train.progress import Reporter, State
from rlway_train.record import Record
from rlway_train.seeds import Purpose, seed_for
from rlway_train.settings import Settings
from rlway_train.video import film

VISITED_ROWS = 4_096  # observations kept for parity and calibration


@dataclass(frozen=True)
class Job:
    """What to train, and where to."""

    make_learner: Callable[[], Learner[Any]]
    domain: Domain
    settings: Settings
    preset: str | None
    seed: int
    folder: Path


@dataclass
class Best:
    """The checkpoint with the highest evaluation so far."""

    iteration: int
    policy: Policy
    evaluation: Evaluation


@dataclass
class Meter:
    """Times the training loop alone."""

    iterations: int = 0
    elapsed_s: float = 0.0
    _since_s: float = field(default=0.0, repr=False)

    def start(self) -> None:
        self._since_s = time.perf_counter()

    def stop(self, iterations: int) -> None:
        self.elapsed_s += time.perf_counter() - self._since_s
        self.iterations += iterations

    @property
    def iterations_per_s(self) -> float:
        return self.iterations / self.elapsed_s if self.elapsed_s else 0.0


def train(job: Job, reporter: Reporter) -> Run:
    """Trains, evaluates and writes the whole run folder."""
    start_s = time.perf_counter()
    with Record(job.folder) as record:
        training = Training(job, record, reporter, start_s)
        try:
            best = training.run()
            reporter.stage("finishing")
            return _finish(job, record, reporter, training, best, start_s)
        finally:
            training.learner.close()


class Training:
    """The loop: collect a block of steps, run a block of updates, now and then evaluate."""

    def __init__(self, job: Job, record: Record, reporter: Reporter, start_s: float) -> None:
        self._job, self._record, self._reporter, self._start_s = job, record, reporter, start_s
        settings, domain = job.settings, job.domain
        self.learner = job.make_learner()
        self.evaluator = Evaluator(domain.make_many(settings.eval_episodes))
        self._collector = Collector(
            domain.make_many(settings.envs), seed_for(job.seed, Purpose.COLLECTION), self.learner.n_step, settings.gamma
        )
        self.meter = Meter()
        self.state = State()
        self._evaluations = 0
        self._saved_step = 0
        self.blocks: list[tuple[int, float]] = []  # after each: the training episodes ended so far, and its loss
        self._best: Best | None = None

    def run(self) -> Best:
        settings, learner = self._job.settings, self.learner
        self._reporter.stage("training")
        self._record.save_policies(learner)
        learner.replay.write(self._collector.collect(learner.random, settings.initial_steps))
        step = settings.initial_steps
        self.state.step = step
        next_evaluation = self._next_evaluation(step)
        while step < settings.steps:
            # The first block traces and compiles: it is no measure of the rate.
            measured = learner.iterations > 0
            self.meter.start()
            rows = self._collector.collect(learner.exploring(step), settings.block_steps)
            loss = learner.learn(rows, step / settings.steps)
            if measured:
                self.meter.stop(settings.block_iterations)
            step += settings.block_steps
            self._show(step, loss)
            ended = len(self.training_returns)
            self.blocks.append((ended, loss))
            learner.episodes_ended(ended)
            over = step >= settings.steps or (settings.episodes is not None and ended >= settings.episodes)
            if step >= next_evaluation or over:
                next_evaluation = self._next_evaluation(step)
                if self._evaluate(learner.policy()) or over:
                    break
        self._record.save_checkpoint(learner.iterations)
        assert self._best is not None  # the last block is always evaluated
        return self._best

    @property
    def training_returns(self) -> list[float]:
        """Of the episodes that collecting ended, in order."""
        return self._collector.returns

    def _next_evaluation(self, step: int) -> int:
        every = self._job.settings.eval_every
        return step - step % every + every

    def _show(self, step: int, loss: float) -> None:
        state = self.state
        state.step, state.loss = step, loss
        state.exploration = self.learner.exploration(step)
        state.iterations_per_s = self.meter.iterations_per_s
        self._reporter.update(state)

    def _evaluate(self, policy: Policy) -> bool:
        """Evaluates, keeps the checkpoint if it is the best, and says whether the training has reached its end."""
        settings, learner = self._job.settings, self.learner
        evaluation = self._episodes(policy, settings.eval_episodes)
        best = self._best
        if settings.confirm_episodes and (best is None or evaluation.mean_return >= best.evaluation.mean_return):
            # The best of many noisy means is a lucky one; more episodes tell luck from skill.
            evaluation += self._episodes(policy, settings.confirm_episodes)
        is_best = best is None or evaluation.mean_return >= best.evaluation.mean_return
        iteration, step = learner.iterations, self.state.step
        if is_best:
            self._best = Best(iteration, policy, evaluation)
        if is_best or (settings.save_every is not None and step - self._saved_step >= settings.save_every):
            self._record.save_checkpoint(iteration)
            self._saved_step = step
        self._record.add_evaluation(step, iteration, time.perf_counter() - self._start_s, evaluation)
        explored = learner.exploration(step)
        self._record.summarize(
            step,
            {
                "training/loss": self.state.loss,
                f"training/{explored.name}": explored.value,
                "training/iterations_per_s": self.meter.iterations_per_s,
                "training/return": float(np.mean(self.training_returns[-100:] or [0.0])),
            },
        )
        self.state.mean_return = evaluation.mean_return
        self._reporter.evaluated(self.state, is_best)
        return is_best and settings.stop_return is not None and evaluation.mean_return >= settings.stop_return

    def _episodes(self, policy: Policy, episodes: int) -> Evaluation:
        self._evaluations += 1
        return self.evaluator.evaluate(
            policy, episodes, seed_for(self._job.seed, Purpose.EVALUATION, self._evaluations)
        )


def _finish(job: Job, record: Record, reporter: Reporter, training: Training, best: Best, start_s: float) -> Run:
    domain, settings, learner, evaluator = job.domain, job.settings, training.learner, training.evaluator
    final = evaluator.evaluate(best.policy, settings.final_episodes, seed_for(job.seed, Purpose.FINAL))
    random = evaluator.evaluate(learner.random, settings.final_episodes, seed_for(job.seed, Purpose.RANDOM))
    record.save_observations(evaluator.visit(best.policy, VISITED_ROWS, seed_for(job.seed, Purpose.OBSERVATIONS)))
    for name, policy in (("trained", best.policy), ("random", learner.random)):
        try:
            film(domain, policy, seed_for(job.seed, Purpose.VIDEO), record.folder / f"{name}.mp4")
        except Exception as error:  # a missing renderer must not cost the training
            reporter.note(f"no {name}.mp4: {domain.env} does not render here ({error}).")
    plot_learning_curve(
        record.folder / "learning_curve.png",
        f"{learner.algorithm.upper()} on {domain.env}, seed {job.seed}",
        record.rows,
        best.iteration,
        random.mean_return,
        domain.reward_threshold,
    )
    plot_training(
        record.folder / "training_curve.png",
        f"Training episodes of {learner.algorithm.upper()} on {domain.env}, seed {job.seed}",
        training.training_returns,
        training.blocks,
    )
    if domain.spec.id == GRID_WORLD and isinstance(best.policy, GreedyPolicy):
        plot_q_values(record.folder / "q_values.png", best.policy)
    run = Run(
        algorithm=learner.algorithm,
        env=domain.env,
        preset=job.preset,
        seed=job.seed,
        observation=[domain.observation],
        action=domain.action,
        action_values=domain.action_values,
        noise=learner.noise,
        outputs=learner.outputs,
        hyperparameters=msgspec.to_builtins(settings),
        versions={name: version(name) for name in ("rlway-train", "tensorflow", "tf-agents", "gymnasium", "numpy")},
        steps=training.state.step,
        iterations=learner.iterations,
        iterations_per_s=round(training.meter.iterations_per_s, 1),
        wall_s=round(time.perf_counter() - start_s, 2),
        best_checkpoint=best.iteration,
        latest_checkpoint=learner.iterations,
        final_return=final.mean_return,
        final_episodes=final.episodes,
        random_return=random.mean_return,
    )
    record.finish(run)
    return run
