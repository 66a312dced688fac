"""Checkpoints of a training, to resume it from. Checkpoints of its policies are in rlway_train.runs.run_folder.

In:      a learner, and the history of the training.
Out:     `runs/<name>/train/checkpoints/<number>/`, complete or not at all; the last one, read back.
Refuses: a checkpoint that is damaged, or does not fit the environment (RunInvalid, UsageError).

      training.json   the job and its history
      best.npz        the weights of the best policy so far
      agent.*         networks, targets and optimizers, as TensorFlow writes them
      replay.npy      the rows in the replay, oldest first; replay.npz, those of images
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.common.files import folder_that_appears_whole
from rlway_client.contract.errors import RlwayError, RunInvalid, UsageError
from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.runs.history import History

if TYPE_CHECKING:
    from rlway_train.agents.learner import Learner

SCHEMA = 1
FOLDER = "train/checkpoints"


class SavedTraining(msgspec.Struct, kw_only=True):
    """`training.json`."""

    schema_version: int = SCHEMA
    algorithm: str
    env: str
    preset: str | None
    seed: int
    settings: dict[str, Any]
    observation: list[TensorSpec]
    action: TensorSpec
    history: History


class Checkpoints:
    """The checkpoints of one run folder. Only the last one is kept."""

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER

    @property
    def last(self) -> Path | None:
        numbers = self._numbers()
        return self._folder / str(numbers[-1]) if numbers else None

    def save(self, saved: SavedTraining, learner: Learner[Any], best: list[FloatArray]) -> None:
        """Writes the next checkpoint, then removes those before it. The last one stays until the next is complete."""
        earlier = self._numbers()
        with folder_that_appears_whole(self._folder / str(earlier[-1] + 1 if earlier else 1)) as draft:
            (draft / "training.json").write_bytes(msgspec.json.encode(saved))
            np.savez(draft / "best.npz", *best)
            learner.save(draft)
        for number in earlier:
            shutil.rmtree(self._folder / str(number))

    def read(self) -> SavedTraining | None:
        """The job and history of the last checkpoint, or None if there is none."""
        last = self.last
        if last is None:
            return None
        path = last / "training.json"
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=SavedTraining)
        except FileNotFoundError:
            if self.last != last:  # the training, which is still running, has written the next one
                return self.read()
            raise RunInvalid(f"{path}: missing; train anew into another folder.") from None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RunInvalid(f"{path}: cannot be read: {error}; train anew into another folder.") from error
        if saved.schema_version != SCHEMA:
            raise RunInvalid(f"{path}: schema version {saved.schema_version} is not known here (expected {SCHEMA}).")
        return saved

    def restore(self, learner: Learner[Any]) -> list[FloatArray]:
        """Restores the learner's weights and replay. Returns the best policy's weights."""
        last = self.last
        assert last is not None
        try:
            learner.restore(last)
            with np.load(last / "best.npz", allow_pickle=False) as arrays:
                return [arrays[name] for name in arrays.files]
        except RlwayError:  # its sentence already says what is wrong
            raise
        except Exception as error:  # TensorFlow raises many kinds of errors for damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunInvalid(f"{last}: cannot be read: {reason}; train anew into another folder.") from error

    def remove_drafts(self) -> None:
        """Removes the drafts of a training that was killed while it wrote."""
        for draft in self._folder.glob(".*"):
            shutil.rmtree(draft)

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())


def check_same_specs(saved: SavedTraining, observation: list[TensorSpec], action: TensorSpec) -> None:
    """Raises UsageError if the environment has changed since."""
    now = _in_words([*observation, action])
    was = _in_words([*saved.observation, saved.action])
    if was != now:
        raise UsageError(f"{saved.env}: has changed since the run to resume began: {was} then, {now} now; train anew.")


def _in_words(specs: list[TensorSpec]) -> str:
    return ", ".join(f"{s.name} {s.label} from {_number(s.minimum)} to {_number(s.maximum)}" for s in specs)


def _number(bound: float | list[float | None] | None) -> str:
    values = bound if isinstance(bound, list) else [bound]
    return ",".join("unbounded" if value is None else f"{value:g}" for value in values)
