"""What an export starts from, whoever trained the policy.

Out:     `Source`: the policy with which every file is compared, and what is known of its training.

    run          a run of `rlway train`, at one of its checkpoints
    tf_agents    what TF-Agents wrote: a folder of PolicySavedModelTrigger, a SavedModel; and any other SavedModel
    onnx         an ONNX file of any library
    keras        a Keras network
    agent        a checkpoint, and the code of its agent
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rlway_client.contract.interface import Interface
    from rlway_export.common.provenance import Provenance
    from rlway_export.reference.base import Reference

SAVED_MODEL = "saved_model.pb"
SOURCE_FILE = "source.onnx"  # the name under which an ONNX source is measured; the bundle does not hold it


class Source(Protocol):
    """A policy on disk."""

    @property
    def folder(self) -> Path: ...

    @property
    def title(self) -> str:
        """What is exported from it, in a few words."""

    @property
    def provenance(self) -> Provenance: ...

    @property
    def recorded(self) -> Path | None:
        """The file of observations that the trained policy visited, if there is one."""

    @property
    def is_busy(self) -> bool:
        """Whether the training still runs and needs the machine. If so, episodes are played only on request."""

    @property
    def interface(self) -> Interface | None:
        """The policy's inputs and outputs, where they are known before the SavedModel is loaded."""

    def materialize(self, destination: Path) -> Reference:
        """Loads the policy; one that is a SavedModel is written into the folder first, with its weights."""
