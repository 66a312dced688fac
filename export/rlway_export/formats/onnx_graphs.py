"""The graphs of a policy that comes as an ONNX file, from which all of its files are made.

In:      the policy.
Out:     `OnnxGraphs`: its ONNX model, the same in plain operators, and the policy in TensorFlow.
Refuses: what the adaptation refuses. What TensorFlow cannot express is refused only where a file needs it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.lowering.plain import plain
from rlway_export.formats.lowering.policy import LoweredPolicy, rows_of_model
from rlway_export.formats.onnx.adapt import adapt
from rlway_export.reference.onnx.policy import OnnxPolicy


class OnnxGraphs:
    """Made once for all formats."""

    def __init__(self, policy: OnnxPolicy) -> None:
        self._interface = policy.interface
        self.model, self.notes = adapt(policy)
        self.refusal: ExportRefused | None = None  # why it is not in TensorFlow, once that was tried

    @property
    def lowered(self) -> LoweredPolicy | None:
        """The policy in TensorFlow; None where that has no form of an operator."""
        return self._lowered

    def tensorflow(self) -> LoweredPolicy:
        """The policy in TensorFlow, for a format that is made from it."""
        if self._lowered is None:
            assert self.refusal is not None
            raise self.refusal
        return self._lowered

    @cached_property
    def plain(self) -> Any:
        """The model in plain operators."""
        return plain(self.model)

    @cached_property
    def _lowered(self) -> LoweredPolicy | None:
        try:
            return LoweredPolicy(self.plain, self._interface, rows_of_model(self.model))
        except ExportRefused as error:
            self.refusal = error
            return None
