"""A run of `rlway train`, at one of its checkpoints.

In:      `runs/<name>/`, which checkpoint.
Out:     a SavedModel with the checkpoint's weights baked in, and its `act` function.
Refuses: a run that has not ended (RunInvalid); a checkpoint that does not exist (UsageError lists those that do);
         a SavedModel without `act` (ExportRefused).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.errors import RunInvalid
from rlway_client.contract.interface import Interface
from rlway_client.contract.run import TrainingJob, TrainingRun, read_run
from rlway_export.common.provenance import Provenance
from rlway_export.reference.policy import ActPolicy, loading
from rlway_export.sources.checkpoints import bake, checkpoint_numbers, checkpoint_path, parse_checkpoint
from rlway_export.sources.kinds import POLICIES
from rlway_export.sources.run_facts import training_facts

CHECKPOINTS = "policies/checkpoints"
GRAPH = "policies/greedy_policy"


class RunSource(NamedTuple):
    """A run and the checkpoint to export."""

    folder: Path
    run: TrainingJob  # a TrainingRun, once the training has ended
    checkpoint: int

    @classmethod
    def open(cls, folder: Path, checkpoint: str) -> RunSource:
        """`checkpoint` is `best`, `latest` or a number of those under policies/checkpoints."""
        _refuse_unfinished(folder)
        run = read_run(folder)
        known = {"best": run.best_checkpoint, "latest": run.latest_checkpoint}
        source = cls(folder, run, known[checkpoint] if checkpoint in known else parse_checkpoint(checkpoint))
        checkpoint_path(folder / CHECKPOINTS, source.checkpoint)  # refused now, before TensorFlow loads
        return source

    @property
    def title(self) -> str:
        return f"checkpoint {self.checkpoint}"

    @property
    def recorded(self) -> Path:
        return self.folder / "observations.npz"

    @property
    def is_busy(self) -> bool:
        return not isinstance(self.run, TrainingRun)

    @property
    def interface(self) -> Interface:
        return self.run.interface

    @property
    def provenance(self) -> Provenance:
        return Provenance.of_run(self.run, training_facts(self.folder, self.run, self.checkpoint))

    def materialize(self, destination: Path) -> ActPolicy:
        """The greedy policy's graph with this checkpoint's weights."""
        graph, weights = self.folder / GRAPH, checkpoint_path(self.folder / CHECKPOINTS, self.checkpoint)
        name = f"{weights} in {graph.name}"
        with loading(f"{name}: cannot be loaded"):
            bake(graph, weights, destination)
            return ActPolicy(destination, self.run.interface, name)


def _refuse_unfinished(folder: Path) -> None:
    """The best checkpoint is known only once a training has ended."""
    if (folder / "run.json").is_file():
        return
    kept = checkpoint_numbers(folder / CHECKPOINTS)
    watch = "add --watch to export while it trains"
    raise RunInvalid(
        f"{folder}: has no run.json, so it is not a finished run; train it to its end first, "
        + (
            f"{watch}, or give {folder / POLICIES} for the greedy actions of checkpoint {kept[-1]}."
            if kept
            else f"or {watch}."
        )
    )
