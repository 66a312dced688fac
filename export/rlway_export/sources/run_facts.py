"""Facts about a training, read from its run folder, whether it has ended or still runs.

In:      a run folder.
Out:     what the manifest says about the training of one checkpoint; which checkpoints were better than all before.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

from rlway_client.contract.errors import RunInvalid
from rlway_client.contract.run import TrainingJob, TrainingRun, kept_checkpoint, read_job, read_run

Each = Literal["better", "new"]  # which checkpoints `--watch` publishes; here, so that the command loads quickly


def known_so_far(folder: Path) -> TrainingJob | None:
    """The `TrainingRun` of a training that has ended, else the `TrainingJob` of one that has begun, else None."""
    try:
        return read_run(folder)
    except RunInvalid:
        return read_job(folder)


def training_facts(folder: Path, run: TrainingJob, checkpoint: int) -> dict[str, Any]:
    """What the manifest says about a checkpoint's training."""
    facts: dict[str, Any] = {
        "checkpoint": checkpoint,
        "preset": run.preset,
        "seed": run.seed,
        "evaluated_return": evaluated_returns(folder).get(checkpoint),
        "hyperparameters": run.hyperparameters,
        "versions": run.versions,
    }
    ended = run if isinstance(run, TrainingRun) else None
    kept = kept_checkpoint(folder, checkpoint)
    until = kept or ended  # a checkpoint without its own numbers gets those of the whole training
    # A training plays fresh episodes only at its end, and only with the best checkpoint.
    played = ended if ended and checkpoint == ended.best_checkpoint else None
    return facts | {
        "steps": kept.step if kept else ended.steps if ended else None,
        "iterations": checkpoint if kept or not ended else ended.iterations,
        "wall_s": until.wall_s if until else None,
        "final_return": played.final_return if played else None,
        "final_interval": played.final_interval if played else None,  # 95%
        "final_episodes": played.final_episodes if played else None,
        "chosen_among": played.chosen_among if played else None,  # evaluated checkpoints
        "random_return": ended.random_return if ended else None,
    }


def evaluated_returns(folder: Path) -> dict[int, float]:
    """The mean return by iteration, oldest first."""
    path = folder / "evaluations.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {int(row["iteration"]): float(row["mean_return"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunInvalid(f"{path}: cannot be read: {error}.") from error


def better_than_before(folder: Path) -> set[int]:
    """The iterations whose evaluation was the best so far: a training keeps a checkpoint of each of them.

    Iteration 0 does not count. The learning curve begins there, and untrained weights are not kept.
    """
    better, best = set(), float("-inf")
    for iteration, mean_return in evaluated_returns(folder).items():
        if iteration > 0 and mean_return >= best:
            best = mean_return
            better.add(iteration)
    return better
