"""Where a policy comes from, whoever trained it.

Out:     `Source`: a SavedModel with its weights baked in, and what is known of its training.

    run_source            a run of `rlway train`, at one of its checkpoints
    saved_model_source    what TF-Agents wrote: a folder of PolicySavedModelTrigger, a SavedModel of PolicySaver
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from rlway_client.parity import Arrays
    from rlway_export.saved_policy import SavedPolicy

SAVED_MODEL = "saved_model.pb"


class Facts(NamedTuple):
    """What the manifest tells of the training."""

    algorithm: str | None
    env: str | None
    action_values: list[float] | None
    max_episode_steps: int | None
    training: dict[str, Any]


class Source(Protocol):
    """A policy on disk."""

    @property
    def folder(self) -> Path: ...

    @property
    def title(self) -> str:
        """What of it is exported, in a few words."""

    @property
    def facts(self) -> Facts: ...

    @property
    def recorded(self) -> Path | None:
        """Where the observations lie that the trained policy visited, if there are any."""

    def visit(self, policy: SavedPolicy) -> Arrays | None:
        """Observations that the policy visits when it is played now, where that can be had."""

    def materialize(self, destination: Path) -> SavedPolicy:
        """Writes the policy's SavedModel with its weights into the folder, and loads it."""
