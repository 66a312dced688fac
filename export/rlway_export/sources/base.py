"""Where a policy comes from, whoever trained it.

Out:     `Source`: a SavedModel with its weights baked in, and what is known of its training.

    run_source            a run of `rlway train`, at one of its checkpoints
    saved_model_source    what TF-Agents wrote: a folder of PolicySavedModelTrigger, a SavedModel of PolicySaver
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from rlway_client.contract.interface import Interface
    from rlway_export.reference.policy import SavedPolicy

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

    @property
    def is_busy(self) -> bool:
        """Whether its training goes on, which needs the machine: nothing is played meanwhile that need not be."""

    @property
    def interface(self) -> Interface | None:
        """What it takes and gives, where that is known before it is loaded."""

    def materialize(self, destination: Path) -> SavedPolicy:
        """Writes the policy's SavedModel with its weights into the folder, and loads it."""
