"""The run folder while it is being written.

In:      the learner, evaluations, and in the end everything that a `Run` says.
Out:     `runs/<name>/`, laid out as rlway_client.run documents it; `run.json` last.
Refuses: UsageError for a folder that already holds something.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf
from tf_agents.train.triggers import PolicySavedModelTrigger

from rlway_client.errors import UsageError
from rlway_client.files import write_atomically
from rlway_client.run import Run
from rlway_client.specs import FloatArray
from rlway_train.evaluation import Evaluation
from rlway_train.learner import Learner

NEVER = 1 << 62  # iterations
COLUMNS = ["step", "iteration", "wall_s", "mean_return", "std_return", "mean_length", "episodes"]


class Record:
    """Use it in `with`: a run that fails before its first trained checkpoint leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints: list[int] = []
        self.rows: list[dict[str, float]] = []
        self._trigger: Any = None
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]

    def __enter__(self) -> Record:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):  # another training was faster by a moment
            raise UsageError(f"--run {self.folder}: holds something already; name another folder.")
        self._summaries = tf.summary.create_file_writer(str(self.folder / "train"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._summaries.close()
        if kind is not None and not self.checkpoints:
            shutil.rmtree(self.folder, ignore_errors=True)
            for parent in self._made[1:]:
                if any(parent.iterdir()):
                    break
                parent.rmdir()

    def save_policies(self, learner: Learner[Any]) -> None:
        """Writes the three SavedModels, with the weights of this moment; checkpoints then follow."""
        self._trigger = PolicySavedModelTrigger(
            str(self.folder / "policies"),
            learner.agent,
            learner.train_step,
            interval=NEVER,  # by itself; `save_checkpoint` pulls it
            extra_concrete_functions=[("act", learner.act())],
        )
        learner.begin(self.folder, [self._trigger])

    def save_checkpoint(self, iteration: int) -> None:
        if iteration not in self.checkpoints:
            self._trigger(iteration, force_trigger=True)
            self.checkpoints.append(iteration)

    def add_evaluation(self, step: int, iteration: int, wall_s: float, evaluation: Evaluation) -> None:
        self.rows.append(
            {
                "step": step,
                "iteration": iteration,
                "wall_s": round(wall_s, 3),
                "mean_return": evaluation.mean_return,
                "std_return": evaluation.std_return,
                "mean_length": evaluation.mean_length,
                "episodes": evaluation.episodes,
            }
        )
        with (self.folder / "evaluations.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if len(self.rows) == 1:
                writer.writeheader()
            writer.writerow(self.rows[-1])
        self.summarize(step, {"evaluation/return": evaluation.mean_return, "evaluation/length": evaluation.mean_length})

    def summarize(self, step: int, values: dict[str, float]) -> None:
        with self._summaries.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def save_observations(self, observations: FloatArray) -> None:  # [N, obs_dim]
        np.savez_compressed(self.folder / "observations.npz", observation=observations)

    def finish(self, run: Run) -> None:
        self._summaries.flush()
        write_atomically(self.folder / "run.json", msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
