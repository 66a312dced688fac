"""What a training leaves: the run folder and its `run.json`.

In:      `runs/<name>/`, written by `rlway train`.
Out:     `TrainingRun`, the record of a finished run; `TrainingJob`, what is known before its end.
Refuses: a folder without `run.json` (the training did not end), a damaged or newer one (RunInvalid).

    runs/<name>/
      job.json                 written first: what is being trained
      run.json                 written last: its presence says that the run is complete
      policies/                as TF-Agents' PolicySavedModelTrigger lays it out
        greedy_policy/  policy/  collect_policy/  checkpoints/policy_checkpoint_%010d/
          checkpoint.json      in each checkpoint, written last: its presence says that the checkpoint is complete
      train/                   TensorBoard summaries
      evaluations.csv  learning_curve.png  trained.mp4  random.mp4
      observations.npz         `observation`: rows that the best policy so far visited
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rlway_client.contract.errors import RunInvalid
from rlway_client.contract.interface import Interface
from rlway_client.contract.meaning import Meaning
from rlway_client.contract.specs import TensorSpec

RUN_SCHEMA = 1


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True):
    """`job.json`: what is known of a run as soon as it begins."""

    schema_version: int = RUN_SCHEMA
    algorithm: str
    env: str
    preset: str | None = None
    seed: int
    observation: list[TensorSpec]
    action: TensorSpec
    action_values: list[float] | None = None  # of a discretised environment: the value behind each discrete action
    max_episode_steps: int | None = None  # the time limit of an episode; None leaves it to the environment
    frame_stack: int = 1  # how many frames of the environment are one observation
    meaning: Meaning | None = None  # what the numbers stand for, if the environment says so
    noise: TensorSpec
    state: list[TensorSpec] = []  # the policy state: `act` takes it, with `reset`, and returns the next one
    outputs: list[TensorSpec]  # what `act` returns besides the action, by name
    hyperparameters: dict[str, Any]
    versions: dict[str, str]

    @property
    def interface(self) -> Interface:
        return Interface(self.observation, [self.action], self.noise, self.state, self.outputs)


class TrainingRun(TrainingJob, frozen=True, kw_only=True):
    """`run.json`. Steps are environment steps, summed over parallel environments."""

    steps: int
    iterations: int  # gradient updates
    iterations_per_s: float  # of the training loop alone: evaluations and start-up excluded
    wall_s: float
    best_checkpoint: int  # the number in policy_checkpoint_%010d with the highest evaluation
    chosen_among: int | None = None  # how many checkpoints were evaluated to find it; None in older runs
    latest_checkpoint: int
    # The mean undiscounted return of the best checkpoint over `final_episodes` fresh episodes, which had no part in
    # choosing it, with a 95% confidence interval. None for a single episode, and in older runs.
    final_return: float
    final_interval: tuple[float, float] | None = None
    final_episodes: int
    random_return: float  # of uniformly random actions, for comparison


class KeptCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`checkpoint.json`: when in its training a checkpoint was kept."""

    iteration: int  # the number in policy_checkpoint_%010d
    step: int
    wall_s: float


JobT = TypeVar("JobT", bound=TrainingJob)


def read_run(folder: Path) -> TrainingRun:
    """What `run.json` says. Raises RunInvalid."""
    path = folder / "run.json"
    if not folder.is_dir():
        raise RunInvalid(f"{folder}: no such run folder; `rlway train` writes one.")
    if not path.is_file():
        raise RunInvalid(f"{folder}: has no run.json, so it is not a finished run; train it to its end first.")
    return _read(path, TrainingRun)


def read_job(folder: Path) -> TrainingJob | None:
    """What `job.json` says; its run may still be going on. None if no run has begun. Raises RunInvalid."""
    path = folder / "job.json"
    return _read(path, TrainingJob) if path.is_file() else None


def checkpoint_name(iteration: int) -> str:
    """The folder of a checkpoint, within the run's."""
    return f"policies/checkpoints/policy_checkpoint_{iteration:010d}"


def kept_checkpoints(folder: Path, on_damage: Callable[[RunInvalid], None] | None = None) -> list[KeptCheckpoint]:
    """The complete checkpoints, oldest first. A damaged one is given to `on_damage`, or raised as RunInvalid."""
    found = []
    for path in folder.glob("policies/checkpoints/*/checkpoint.json"):
        try:
            found.append(_read_kept(path))
        except RunInvalid as error:
            if on_damage is None:
                raise
            on_damage(error)
    return sorted((kept for kept in found if kept), key=lambda kept: kept.iteration)


def kept_checkpoint(folder: Path, iteration: int) -> KeptCheckpoint | None:
    """One of them; None if it is incomplete, or from before `checkpoint.json` existed. Raises RunInvalid."""
    return _read_kept(folder / checkpoint_name(iteration) / "checkpoint.json")


def _read_kept(path: Path) -> KeptCheckpoint | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptCheckpoint)
    except FileNotFoundError:  # a resumed training removes the checkpoints that it will make again
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunInvalid(f"{path}: damaged: {error}.") from error


def _read(path: Path, kind: type[JobT]) -> JobT:
    try:
        raw = msgspec.json.decode(path.read_bytes())
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if type(version) is not int or version != RUN_SCHEMA:
            raise RunInvalid(f"{path}: schema version {version!r} is not known here (expected {RUN_SCHEMA}).")
        return msgspec.convert(raw, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunInvalid(f"{path}: damaged: {error}.") from error
