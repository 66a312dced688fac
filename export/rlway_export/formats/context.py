"""What every format is written from.

In:      the SavedModel, already in the draft's folder, and what is known of the policy so far.
Out:     `Context`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlway_client.contract.evidence import Evidence
from rlway_client.contract.manifest import Manifest
from rlway_export.formats.onnx.convert import convert_to_onnx
from rlway_export.reference.policy import SavedPolicy


@dataclass(frozen=True)
class Context:
    """A version that is being written."""

    folder: Path
    policy: SavedPolicy
    manifest: Manifest  # without parity, measurements and checksums, which are known only at the end
    evidence: Evidence  # what the SavedModel answers
    notes: list[str] = field(default_factory=list)  # what a user should know of the files, a sentence each

    @cached_property
    def onnx_model(self) -> Any:
        """The float32 ONNX model, for all formats that are made from it. It must not be changed."""
        model, notes = convert_to_onnx(self.policy, self.manifest)
        self.notes.extend(notes)
        return model
