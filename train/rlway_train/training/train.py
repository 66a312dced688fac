"""Trains a policy, from an environment to a finished run folder, whatever the algorithm.

In:      `Plan`.
Out:     `TrainingRun`, and the folder that it describes: the files of the loop, then films, pictures and `run.json`.
Refuses: what the environment, the learner and the folder refuse. What has been learned so far is saved.
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
from rlway_train.collect.transition import make_columns
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.envs.domain import Domain
from rlway_train.envs.spaces import unpack
from rlway_train.policies.numpy import BatchPolicy, GreedyPolicy
from rlway_train.replay.base import Replay
from rlway_train.reports.curves import plot_learning_curve, plot_training
from rlway_train.reports.q_value_map import GRID_WORLD, plot_q_values
from rlway_train.reports.video import film
from rlway_train.runs.run_folder import RunFolder
from rlway_train.training.loop import TrainingLoop
from rlway_train.training.plan import Plan
from rlway_train.training.progress import Reporter

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel


def train(plan: Plan[Any], domain: Domain, reporter: Reporter, channel: Channel | None = None) -> TrainingRun:
    """Trains, evaluates and writes the whole run folder. With a channel, the channel's actors collect."""
    with (
        RunFolder(plan.folder, plan.resume) as run_folder,
        closing(make_learner(plan.settings, domain, plan.seed, _remote_replay(plan, domain, channel))) as learner,
    ):
        job = _job(plan, domain, learner)
        run_folder.begin(job)
        with closing(TrainingLoop(plan, domain, learner, run_folder, reporter, channel)) as training:
            training.run()
        reporter.stage("finishing")
        with run_folder.written("what the training achieved"):
            return _finish(job, plan, domain, run_folder, reporter, training)


def _remote_replay(plan: Plan[Any], domain: Domain, channel: Channel | None) -> Replay | None:
    """The replay on the channel's server. Without a channel, the settings say where the replay is."""
    if channel is None:
        return None
    from rlway_train.distributed.remote_replay import RemoteReplay

    return RemoteReplay(channel, make_columns(plan.settings, domain).width)


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
        frame_stack=domain.frame_stack,
        meaning=domain.meaning,
        noise=learner.noise,
        state=learner.state,
        outputs=learner.outputs,
        hyperparameters=msgspec.to_builtins(plan.settings),
        versions={name: version(name) for name in ("rlway-train", "tensorflow", "tf-agents", "gymnasium", "numpy")},
    )


def _finish(
    job: TrainingJob, plan: Plan[Any], domain: Domain, run_folder: RunFolder, reporter: Reporter, training: TrainingLoop
) -> TrainingRun:
    settings, learner, history = plan.settings, training.learner, training.history
    evaluator, best, policy = (
        training.evaluations.evaluator,
        training.evaluations.best,
        training.evaluations.best_policy,
    )
    final = evaluator.evaluate(policy, settings.final_episodes, seed_for(plan.seed, Purpose.FINAL))
    random = evaluator.evaluate(learner.random, settings.final_episodes, seed_for(plan.seed, Purpose.RANDOM))
    visited = evaluator.visit(policy, VISITED_ROWS, seed_for(plan.seed, Purpose.OBSERVATIONS))
    run_folder.save_observations(unpack(visited, domain.leaves))
    if settings.films:
        _film(
            domain,
            run_folder,
            reporter,
            {"trained": policy, "random": learner.random},
            seed_for(plan.seed, Purpose.VIDEO),
        )
    plot_learning_curve(
        run_folder.folder / "learning_curve.png",
        f"{learner.algorithm.upper()} on {domain.env}, seed {plan.seed}",
        history.rows,
        best.iteration,
        final,
        random.mean_return,
        domain.reward_threshold,
    )
    plot_training(
        run_folder.folder / "training_curve.png",
        f"Training episodes of {learner.algorithm.upper()} on {domain.env}, seed {plan.seed}",
        training.training_returns,
        history.blocks,
    )
    if domain.spec.id == GRID_WORLD and isinstance(policy, GreedyPolicy):
        plot_q_values(run_folder.folder / "q_values.png", policy)
    run = TrainingRun(
        **msgspec.structs.asdict(job),
        steps=history.step,
        iterations=learner.iterations,
        iterations_per_s=round(history.iterations_per_s, 1),
        wall_s=round(training.wall_s, 2),
        best_checkpoint=best.iteration,
        chosen_among=history.candidates,
        latest_checkpoint=learner.iterations,
        final_return=final.mean_return,
        final_interval=final.interval,
        final_episodes=final.episodes,
        random_return=random.mean_return,
    )
    run_folder.finish(run)
    return run


def _film(
    domain: Domain, run_folder: RunFolder, reporter: Reporter, policies: dict[str, BatchPolicy], seed: int
) -> None:
    for name, policy in policies.items():
        try:
            film(domain, policy, seed, run_folder.folder / f"{name}.mp4")
        except Exception as error:  # a training must not fail because there is no renderer
            reporter.note(f"no {name}.mp4: {domain.env} does not render here ({error}).")
