"""RLway's training: an environment in, a finished run folder out.

environment ──▶ collector ──▶ replay ──▶ learner (TF-Agents) ──weights──▶ policy (numpy) ──▶ collector, evaluation

    trained = rlway_train.train("CartPole-v1", steps=20_000, run="runs/a")
    trained.folder / "learning_curve.png", trained.run.final_return
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlway_train.training.session import Trained

__all__ = ["train"]


def train(
    env: str | type[Any] | None = None,
    *,
    preset: str | None = None,
    algorithm: str | None = None,
    run: str | Path | None = None,
    seed: int | None = None,
    resume: bool = False,
    publish: str | Path | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Trained:
    """Trains a policy into a run folder, as `rlway train dqn` and `rlway train sac` do.

    env, preset   the environment, its name or its class; or a preset that names one. Ids that this process has
                  registered in gymnasium work.
    algorithm     "dqn" or "sac". Without it, the preset's, or DQN.
    run, seed     the folder to write, by default runs/PRESET-SEED or runs/ENV-SEED; the seed of everything random, by
                  default 0.
    resume        continues the run in that folder, with its own settings.
    publish       models/NAME: exports each better checkpoint during the training.
    log           is called with each line of progress, also from another thread. Without it, lines go to stderr.
    settings      the command's flags, with underscores: steps=20_000, hidden=(64, 64), learning_rate=1e-3.

    Raises rlway_client.RlwayError, whose text is the sentence that the command would print. On Ctrl-C, or when a
    notebook's kernel is interrupted, it saves first; `resume=True` then continues the run.
    """
    # Not at the top: it takes a moment, and every process of a training imports this package.
    from rlway_train.training import session

    return session.train(
        env,
        preset=preset,
        algorithm=algorithm,
        run=run,
        seed=seed,
        resume=resume,
        publish=publish,
        log=log,
        **settings,
    )
