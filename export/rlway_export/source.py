"""Where a policy comes from: a finished run, at one of its checkpoints.

In:      `runs/<name>/`, which checkpoint.
Out:     a SavedModel with the checkpoint's weights baked in, and its `act` function.
Refuses: a checkpoint that does not exist (UsageError lists those that do); a SavedModel without `act`, a policy with a
         memory (ExportRefused).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlway_client.errors import ExportRefused, RunInvalid, UsageError
from rlway_client.run import Job, read_run
from rlway_client.specs import AnyArray

CHECKPOINTS = "policies/checkpoints"
CHECKPOINT_PREFIX = "policy_checkpoint_"


class Source(NamedTuple):
    """A run and the checkpoint to export."""

    folder: Path
    run: Job  # of a training that has ended, a Run
    checkpoint: int

    @classmethod
    def open(cls, folder: Path, checkpoint: str) -> Source:
        """`checkpoint` is `best`, `latest` or a number of those under policies/checkpoints."""
        run = read_run(folder)
        if run.state:
            memory = ", ".join(spec.name for spec in run.state)
            raise ExportRefused(
                f"{folder}: its policy remembers from step to step ({memory}); only policies without memory can be "
                f"exported yet."
            )
        if run.observation[0].path:
            arrays = ", ".join("/".join(spec.path) for spec in run.observation)
            raise ExportRefused(
                f"{folder}: its policy observes a dict of arrays ({arrays}); only policies that observe one vector can "
                f"be exported yet."
            )
        number = {"best": run.best_checkpoint, "latest": run.latest_checkpoint}.get(checkpoint)
        if number is None:
            if not checkpoint.isdecimal():
                raise UsageError(f"--checkpoint {checkpoint!r}: expected best, latest or a number.")
            number = int(checkpoint)
        source = cls(folder, run, number)
        if not source.checkpoint_path.is_dir():
            raise UsageError(
                f"{folder}: has no checkpoint {number}; it has {', '.join(map(str, source.checkpoints()))}."
            )
        return source

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / CHECKPOINTS / f"{CHECKPOINT_PREFIX}{self.checkpoint:010d}"

    def checkpoints(self) -> list[int]:
        """The numbers of all checkpoints, oldest first."""
        return sorted(
            int(path.name.removeprefix(CHECKPOINT_PREFIX))
            for path in (self.folder / CHECKPOINTS).glob(f"{CHECKPOINT_PREFIX}*")
            if path.name.removeprefix(CHECKPOINT_PREFIX).isdecimal()
        )

    def observations(self) -> AnyArray:  # -> [N, …]
        """Rows that the trained policy visited."""
        path = self.folder / "observations.npz"
        spec = self.run.observation[0]
        try:
            with np.load(path, allow_pickle=False) as arrays:
                observations: AnyArray = arrays[spec.name]
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise RunInvalid(f"{path}: cannot be read: {error}.") from None
        if observations.shape[1:] != spec.shape or not len(observations):
            raise RunInvalid(
                f"{path}: expected rows of {spec.label}, got an array of shape {list(observations.shape)}."
            )
        return observations.astype(spec.numpy_dtype)

    def materialize(self, destination: Path) -> SavedPolicy:
        """Writes the greedy policy's SavedModel with this checkpoint's weights into the folder, and loads it.

        The trigger saved the graph once, before training; its checkpoints hold only weights.
        """
        from tf_agents.policies import policy_loader

        graph = self.folder / "policies/greedy_policy"
        baked = destination / "baked"  # TF-Agents insists on a folder that does not exist yet
        try:
            policy_loader.materialize_saved_model(str(graph), str(self.checkpoint_path), str(baked))
            for path in baked.iterdir():
                path.rename(destination / path.name)
            baked.rmdir()
            return SavedPolicy(destination, self.run)
        except ExportRefused:
            raise
        except Exception as error:  # TensorFlow has no one kind for "this is damaged"
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunInvalid(f"{self.checkpoint_path}: cannot be loaded into {graph}: {reason}.") from error


class SavedPolicy:
    """The `act` function of a SavedModel: the reference that every exported file is held against."""

    def __init__(self, saved_model: Path, run: Job) -> None:
        import tensorflow as tf
        import tf_agents  # noqa: F401  registers the type specs that the SavedModel refers to

        self.run = run
        self.observation = run.observation[0]
        self._model = tf.saved_model.load(str(saved_model))
        if not hasattr(self._model, "act"):
            raise ExportRefused(
                f"{saved_model}: has no `act` function, so it was not saved by `rlway train`; only such runs can be "
                f"exported yet."
            )

    def signature(self, batch: int | None) -> list[Any]:
        """The TensorSpecs of `act`'s inputs over `batch` rows (None: any number)."""
        import tensorflow as tf

        inputs = (self.observation, self.run.noise)
        return [tf.TensorSpec([batch, *spec.shape], spec.dtype, name=spec.name) for spec in inputs]

    def module(self, batch: int | None) -> Any:
        """A tf.Module whose one function, `act`, takes `batch` rows."""
        import tensorflow as tf

        module = tf.Module()
        module.policy = self._model  # keeps the weights with it
        module.act = tf.function(self._act, input_signature=self.signature(batch), autograph=False)
        return module

    def run_act(self, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
        """What the SavedModel answers: arrays by output name."""
        outputs = self._model.act(observations, noise)
        return {name: value.numpy() for name, value in outputs.items()}

    def _act(self, observation: Any, noise: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = self._model.act(observation, noise)
        return outputs
