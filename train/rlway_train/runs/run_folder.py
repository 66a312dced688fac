"""The run folder while it is being written.

In:      the job, the learner, evaluations; at the end, the `TrainingRun`.
Out:     `runs/<name>/`, laid out as rlway_client.contract.run documents it; `job.json` first, `run.json` last.
Refuses: UsageError for a folder that holds something else, or that another training is writing; RunInvalid when the
         disk is full. What was saved before stays.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf
from tf_agents.train.triggers import PolicySavedModelTrigger

from rlway_client.common.files import write_atomically
from rlway_client.contract.errors import RunInvalid, UsageError
from rlway_client.contract.run import KeptCheckpoint, TrainingJob, TrainingRun, checkpoint_name
from rlway_client.contract.specs import FloatArray
from rlway_train.agents.learner import Learner
from rlway_train.collect.evaluator import EvaluationResult
from rlway_train.common.lock import locked
from rlway_train.runs.checkpoint import Checkpoints, SavedTraining
from rlway_train.runs.history import History

NEVER = 1 << 62  # iterations
CSV_COLUMNS = {
    "evaluations.csv": [
        *("step", "iteration", "wall_s", "mean_return", "std_return", "low_return", "high_return"),
        *("mean_length", "episodes"),
    ],
    "episodes.csv": ["episode", "return"],
}
DRAFTED = (*CSV_COLUMNS, "job.json", "observations.npz", "run.json")
# What a training leaves if it is killed before it has saved anything.
UNFINISHED = {"policies", "train", *DRAFTED} - {"run.json"}


class RunFolder:
    """Use it in `with`. A run that fails before it has saved anything leaves nothing behind."""

    def __init__(self, folder: Path, resume: bool = False) -> None:
        self.folder = folder
        self.history = History()
        self._resume = resume
        self._checkpoints = Checkpoints(folder)
        self._trigger: Any = None
        self._created = [path for path in (folder, *folder.parents) if not path.exists()]

    def __enter__(self) -> RunFolder:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--run {self.folder}: cannot be made: {error.strerror}; name another folder.") from error
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder))
            self._begin()
            self._lock = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._summaries.close()
            if kind is not None and self._checkpoints.last is None:
                self._remove_folder()

    def _begin(self) -> None:
        if self._resume:
            self._remove_drafts()
        saved = self._checkpoints.read() if self._resume else None
        if saved is not None:
            self.history = saved.history
            self.history.resumptions += 1
            self._remove_later_checkpoints()
        elif self._resume and {path.name for path in self.folder.iterdir()} <= UNFINISHED:
            self._remove_content()
        elif any(self.folder.iterdir()):
            raise UsageError(f"--run {self.folder}: holds something already; name another folder.")
        self._summaries = tf.summary.create_file_writer(str(self.folder / "train"))

    def _remove_folder(self) -> None:
        self._remove_content()
        self.folder.rmdir()
        for parent in self._created[1:]:
            if any(parent.iterdir()):
                break
            parent.rmdir()

    def _remove_content(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _remove_drafts(self) -> None:
        """Removes the drafts of rlway_client.common.files that a killed training left, and no other hidden files."""
        for name in DRAFTED:
            for draft in self.folder.glob(f".{name}.*"):
                draft.unlink()
        self._checkpoints.remove_drafts()

    def _remove_later_checkpoints(self) -> None:
        """Removes evaluations and policies that are newer than the last checkpoint: that part is trained again."""
        self._write_evaluations()
        kept = {self.folder / checkpoint_name(iteration) for iteration in self.history.checkpoints}
        for path in (self.folder / "policies/checkpoints").glob("*"):
            if path not in kept:
                shutil.rmtree(path)

    def save(self, saved: SavedTraining, learner: Learner[Any], best: list[FloatArray]) -> None:
        """Writes the checkpoint that a resumed training starts from."""
        with self.written("the training's checkpoint"):
            self._checkpoints.save(saved, learner, best)

    def restore(self, learner: Learner[Any]) -> list[FloatArray]:
        """Restores the learner from the last checkpoint. Returns the best policy's weights."""
        weights = self._checkpoints.restore(learner)
        # A finished run that is resumed is no longer finished: its run.json would be wrong.
        (self.folder / "run.json").unlink(missing_ok=True)
        return weights

    def begin(self, job: TrainingJob) -> None:
        """Writes job.json, for readers that follow the training."""
        with self.written("job.json"):
            self._write_json("job.json", job)

    @contextmanager
    def written(self, what: str) -> Iterator[None]:
        """Wraps a block that writes into the folder. A full disk becomes a RunInvalid."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
            kept = "what was saved before is kept, and --resume goes on from it"
            if self._checkpoints.last is None:
                kept = "nothing had been saved yet"
            raise RunInvalid(f"{self.folder}: {what} could not be written: {reason}; {kept}.") from error

    def save_policies(self, learner: Learner[Any]) -> None:
        """Writes the three SavedModels, with the present weights. Checkpoints follow."""
        with self.written("the policies"):
            self._trigger = PolicySavedModelTrigger(
                str(self.folder / "policies"),
                learner.agent,
                learner.train_step,
                interval=NEVER,  # `save_checkpoint` calls it with force
                extra_concrete_functions=[("act", learner.act())],
            )
        self._learner = learner
        learner.begin(self.folder, [self._trigger])

    def save_checkpoint(self, iteration: int, wall_s: float) -> None:
        """Writes a checkpoint of the policy. checkpoint.json comes last and says that it is complete."""
        if iteration in self.history.checkpoints:
            return
        with self.written("the policy's checkpoint"):
            with self._learner.shipped():
                self._trigger(iteration, force_trigger=True)
            kept = KeptCheckpoint(iteration=iteration, step=self.history.step, wall_s=round(wall_s, 3))
            self._write_json(f"{checkpoint_name(iteration)}/checkpoint.json", kept)
        self.history.checkpoints.append(iteration)

    def add_evaluation(self, step: int, iteration: int, wall_s: float, evaluation: EvaluationResult) -> None:
        interval = dict(zip(("low_return", "high_return"), evaluation.interval or (), strict=False))
        self.history.rows.append(
            {
                "step": step,
                "iteration": iteration,
                "wall_s": round(wall_s, 3),
                "mean_return": evaluation.mean_return,
                "std_return": evaluation.std_return,
                **interval,
                "mean_length": evaluation.mean_length,
                "episodes": evaluation.episodes,
            }
        )
        with self.written("evaluations.csv"):
            self._write_evaluations()
        # Under the names of TF-Agents' own metrics.
        means = {"AverageReturn": evaluation.mean_return, "AverageEpisodeLength": evaluation.mean_length}
        self.summarize(step, {f"Metrics/{name}": value for name, value in means.items()})

    def keep_run_stats(self, step: int, returns: list[float], envs: int) -> None:
        """Writes what TF-Agents' RunStats wrapper counts, and the return of every training episode so far."""
        with self.written("episodes.csv"):
            self._write_rows("episodes.csv", [{"episode": i, "return": value} for i, value in enumerate(returns, 1)])
        ended = len(returns)
        counts = {"episodes": ended, "resets": ended + envs, "steps": step}
        self.summarize(step, {f"environment/{name}": value for name, value in counts.items()})

    def _write_evaluations(self) -> None:
        self._write_rows("evaluations.csv", self.history.rows)

    def _write_rows(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS[name], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / name, text.getvalue().encode())

    def summarize(self, step: int, values: dict[str, float]) -> None:
        with self._summaries.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Like `summarize`, for frequent values: all in one write, at a fifth of the cost."""
        summary = tf.compat.v1.Summary()
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
        with self._summaries.as_default(step=step):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString())

    def save_observations(self, observations: dict[str, FloatArray]) -> None:  # [N, …] by the tensor's name
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **observations)
        with self.written("observations.npz"):
            write_atomically(self.folder / "observations.npz", buffer.getvalue())

    def finish(self, run: TrainingRun) -> None:
        self._summaries.flush()
        self._write_json("run.json", run)

    def _write_json(self, name: str, value: msgspec.Struct) -> None:
        write_atomically(self.folder / name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
