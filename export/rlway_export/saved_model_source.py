"""What TF-Agents leaves by itself: a folder of PolicySavedModelTrigger, or one SavedModel of PolicySaver.

In:      the folder, which checkpoint.
Out:     a SavedModel with the checkpoint's weights baked in, and its `action`.
Refuses: a folder that holds neither (RunInvalid); a checkpoint where there is none (UsageError).

    policies/
      greedy_policy/  policy/  collect_policy/     graphs, with the weights of the moment when the trigger was made
      checkpoints/policy_checkpoint_%010d/         weights
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.errors import RunInvalid, UsageError
from rlway_export.action_policy import ActionPolicy
from rlway_export.checkpoints import bake, checkpoint_numbers, checkpoint_path, parse_checkpoint
from rlway_export.saved_policy import SavedPolicy, loading
from rlway_export.source import SAVED_MODEL, Facts

GRAPHS = ("greedy_policy", "policy")  # the first that is there is exported
CHECKPOINTS = "checkpoints"


class SavedModelSource(NamedTuple):
    """A graph, and the number of the checkpoint whose weights it gets; None: its own."""

    folder: Path
    graph: Path
    checkpoint: int | None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path, checkpoint: str) -> SavedModelSource:
        """`checkpoint` is `best`, `latest` or a number; nobody has said which is best, so that is the latest."""
        if (folder / SAVED_MODEL).is_file():
            if checkpoint not in ("best", "latest"):
                raise UsageError(f"{folder}: is one SavedModel without checkpoints; leave out --checkpoint.")
            return cls(folder, folder, None)
        graph = next((folder / name for name in GRAPHS if (folder / name / SAVED_MODEL).is_file()), None)
        if graph is None:
            raise RunInvalid(
                f"{folder}: expected a run of `rlway train` (run.json), a folder of PolicySavedModelTrigger "
                f"(greedy_policy/) or a SavedModel ({SAVED_MODEL}), got none of them."
            )
        numbers = checkpoint_numbers(folder / CHECKPOINTS)
        if checkpoint not in ("best", "latest"):
            number = parse_checkpoint(checkpoint)
            checkpoint_path(folder / CHECKPOINTS, number)
            return cls(folder, graph, number)
        if not numbers:
            return cls(folder, graph, None, (f"{folder}: has no checkpoints; taking the weights of {graph.name}.",))
        unsaid = (f"{folder}: nothing says which checkpoint is the best; taking the latest, {numbers[-1]}.",)
        return cls(folder, graph, numbers[-1], unsaid if checkpoint == "best" else ())

    @property
    def title(self) -> str:
        return f"the weights of {self.graph.name}" if self.checkpoint is None else f"checkpoint {self.checkpoint}"

    @property
    def recorded(self) -> None:
        return None

    def visit(self, policy: SavedPolicy) -> None:  # noqa: ARG002  as every source has it
        return None  # nobody has said in which environment

    @property
    def facts(self) -> Facts:
        return Facts(None, None, None, None, {"checkpoint": self.checkpoint})

    def materialize(self, destination: Path) -> ActionPolicy:
        """The graph with its weights, or those of the checkpoint."""
        weights, sentence = self.graph, f"{self.graph}: cannot be loaded"
        if self.checkpoint is not None:
            weights = checkpoint_path(self.folder / CHECKPOINTS, self.checkpoint)
            sentence = f"{weights}: cannot be loaded into {self.graph}"
        with loading(sentence):
            bake(self.graph, weights, destination)
            policy = ActionPolicy(destination, str(self.graph))
        policy.notes = [*self.notes, *policy.notes]
        return policy
