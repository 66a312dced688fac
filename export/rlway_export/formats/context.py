"""What every format is written from.

In:      the policy, whose SavedModel is already in the draft's folder, and what is known of it so far.
Out:     `Context`: the policy as an ONNX model and as a function of TensorFlow.
Refuses: what the conversions refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlway_client.contract.evidence import Evidence
from rlway_client.contract.guard import Guard
from rlway_client.contract.manifest import Manifest
from rlway_export.formats.lowering.plain import plain
from rlway_export.formats.onnx.convert import convert_to_onnx, describe
from rlway_export.formats.onnx_graphs import OnnxGraphs
from rlway_export.reference.base import Reference
from rlway_export.reference.policy import SavedPolicy


@dataclass(frozen=True)
class Context:
    """A version that is being written."""

    folder: Path
    policy: Reference
    manifest: Manifest  # without parity, measurements and checksums, which are known only at the end
    evidence: Evidence  # what the policy answers
    source: SavedPolicy | OnnxGraphs  # what files are made from: the policy itself, or the graphs of an ONNX file
    guard: Guard | None = None
    notes: list[str] = field(default_factory=list)  # what a user should know of the files, a sentence each

    @cached_property
    def onnx_model(self) -> Any:
        """The float32 ONNX model, for all formats that are made from it. It must not be changed."""
        if isinstance(self.source, OnnxGraphs):
            return describe(self.source.model, self.manifest)
        model, notes = convert_to_onnx(self.source, self.manifest)
        self.notes.extend(notes)
        return model

    @cached_property
    def plain_onnx_model(self) -> Any:
        """The same in the operators that a source in C can be written for."""
        return plain(self.onnx_model)

    @property
    def tensorflow(self) -> SavedPolicy:
        """The policy as a function of TensorFlow, for the formats that are made from it."""
        return self.source.tensorflow() if isinstance(self.source, OnnxGraphs) else self.source
