"""The checkpoints that TF-Agents' PolicySavedModelTrigger writes beside its SavedModels.

In:      `checkpoints/policy_checkpoint_%010d/`.
Out:     their numbers; the train step of one of them; a SavedModel with the weights of one of them.
Refuses: a checkpoint that is not there (UsageError lists those that are).

The trigger saves the graphs once, before training; its checkpoints hold only weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rlway_client.contract.errors import RunInvalid, UsageError
from rlway_export.sources.base import SAVED_MODEL

PREFIX = "policy_checkpoint_"
MOST_DIGITS = 18  # of a number that fits in 64 bits
VARIABLES = "variables"
TRAIN_STEP = "train_step/.ATTRIBUTES/VARIABLE_VALUE"
KEPT = ("assets", "policy_specs.pbtxt")  # of the graph's folder, beside graph and variables


def checkpoint_numbers(folder: Path) -> list[int]:
    """The numbers of all checkpoints in the folder, oldest first."""
    numbers = (path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def checkpoint_path(folder: Path, number: int) -> Path:
    """The folder of one of them."""
    path = folder / f"{PREFIX}{number:010d}"
    if not path.is_dir():
        there = ", ".join(map(str, checkpoint_numbers(folder))) or "none"
        raise UsageError(f"{folder.parent}: has no checkpoint {number}; it has {there}.")
    return path


def parse_checkpoint(checkpoint: str, others: str = "best, latest") -> int:
    """The number in a user's `--checkpoint` that is none of the `others`."""
    if not checkpoint.isdecimal() or len(checkpoint) > MOST_DIGITS:
        raise UsageError(f"--checkpoint {checkpoint[:40]!r}: expected {others} or a number.")
    return int(checkpoint)


def train_step(weights: Path) -> int | None:
    """The train step at which the weights were saved: −1 if nobody counted, None if they hold none."""
    import tensorflow as tf

    try:
        return int(tf.train.load_checkpoint(str(weights / VARIABLES / VARIABLES)).get_tensor(TRAIN_STEP))
    except Exception:  # missing or damaged: loading them will say so
        return None


def bake(graph: Path, weights: Path, destination: Path) -> None:
    """A SavedModel from one folder's graph and the other's variables."""
    try:
        shutil.copyfile(graph / SAVED_MODEL, destination / SAVED_MODEL)
        shutil.copytree(weights / VARIABLES, destination / VARIABLES)
        for name in KEPT:
            if (graph / name).is_dir():
                shutil.copytree(graph / name, destination / name)
            elif (graph / name).is_file():
                shutil.copyfile(graph / name, destination / name)
    except FileNotFoundError as error:
        raise RunInvalid(f"{error.filename}: missing, so there is no SavedModel to export.") from None
