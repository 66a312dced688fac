"""The training of a policy, from an environment to a finished run folder, whatever the algorithm.

In:      `Plan`.
Out:     `TrainingRun`, and the folder that it describes: what the loop leaves, and in the end films, pictures and
         `run.json`.
Refuses: what the environment, the learner and the folder refuse. What has been learned until then is saved.
"""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from rlway_client.contract.run import TrainingJob, TrainingRun
from rlway_train.agents.factory import make_learner
from rlway_train.agents.learner import Learner
from rlway_train.collect.evaluator import VISITED_ROWS
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.envs.environment import Domain
from rlway_train.envs.spaces import unpack
from rlway_train.policies.numpy import GreedyPolicy, Policy
from rlway_train.reports.curves import plot_learning_curve, plot_training
from rlway_train.reports.q_value_map import GRID_WORLD, plot_q_values
from rlway_train.reports.video import film
from rlway_train.runs.run_folder import Record
from rlway_train.training.loop import Training
from rlway_train.training.plan import Plan
from rlway_train.training.progress import Reporter

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Exchange


def train(plan: Plan[Any], domain: Domain, reporter: Reporter, exchange: Exchange | None = None) -> TrainingRun:
    """Trains, evaluates and writes the whole run folder; with an exchange, from what its actors do."""
    with (
        Record(plan.folder, plan.resume) as record,
        closing(make_learner(plan.settings, domain, plan.seed, exchange)) as learner,
    ):
        job = _job(plan, domain, learner)
        record.begin(job)
        with closing(Training(plan, domain, learner, record, reporter, exchange)) as training:
            training.run()
        reporter.stage("finishing")
        with record.written("what the training achieved"):
            return _finish(job, plan, domain, record, reporter, training)


def _job(plan: Plan[Any], domain: Domain, learner: Learner[Any]) -> TrainingJob:
    return TrainingJob(
        algorithm=learner.algorithm,
        env=domain.env,
        preset=plan.preset,
        seed=plan.seed,
        observation=domain.leaves,
        action=domain.action,
        action_values=domain.action_values,
        max_episode_steps=domain.max_episode_steps,
        noise=learner.noise,
        state=learner.state,
        outputs=learner.outputs,
        hyperparameters=msgspec.to_builtins(plan.settings),
        versions={name: version(name) for name in ("rlway-train", "tensorflow", "tf-agents", "gymnasium", "numpy")},
    )


def _finish(
    job: TrainingJob, plan: Plan[Any], domain: Domain, record: Record, reporter: Reporter, training: Training
) -> TrainingRun:
    settings, learner, evaluator = plan.settings, training.learner, training.evaluator
    history, best, policy = training.history, training.best, training.best_policy
    final = evaluator.evaluate(policy, settings.final_episodes, seed_for(plan.seed, Purpose.FINAL))
    random = evaluator.evaluate(learner.random, settings.final_episodes, seed_for(plan.seed, Purpose.RANDOM))
    visited = evaluator.visit(policy, VISITED_ROWS, seed_for(plan.seed, Purpose.OBSERVATIONS))
    record.save_observations(unpack(visited, domain.leaves))
    if settings.films:
        _film(
            domain, record, reporter, {"trained": policy, "random": learner.random}, seed_for(plan.seed, Purpose.VIDEO)
        )
    plot_learning_curve(
        record.folder / "learning_curve.png",
        f"{learner.algorithm.upper()} on {domain.env}, seed {plan.seed}",
        history.rows,
        best.iteration,
        random.mean_return,
        domain.reward_threshold,
    )
    plot_training(
        record.folder / "training_curve.png",
        f"Training episodes of {learner.algorithm.upper()} on {domain.env}, seed {plan.seed}",
        training.training_returns,
        history.blocks,
    )
    if domain.spec.id == GRID_WORLD and isinstance(policy, GreedyPolicy):
        plot_q_values(record.folder / "q_values.png", policy)
    run = TrainingRun(
        **msgspec.structs.asdict(job),
        steps=history.step,
        iterations=learner.iterations,
        iterations_per_s=round(history.iterations_per_s, 1),
        wall_s=round(training.wall_s, 2),
        best_checkpoint=best.iteration,
        latest_checkpoint=learner.iterations,
        final_return=final.mean_return,
        final_episodes=final.episodes,
        random_return=random.mean_return,
    )
    record.finish(run)
    return run


def _film(domain: Domain, record: Record, reporter: Reporter, policies: dict[str, Policy], seed: int) -> None:
    for name, policy in policies.items():
        try:
            film(domain, policy, seed, record.folder / f"{name}.mp4")
        except Exception as error:  # a missing renderer must not cost the training
            reporter.note(f"no {name}.mp4: {domain.env} does not render here ({error}).")
