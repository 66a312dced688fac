"""The opset of an ONNX graph: brought to one that every writer of files here knows.

In:      a checked model of any opset.
Out:     the model in opset 17, or in the newer one that it has.
Refuses: an old graph that ONNX's own converter cannot bring there (ExportRefused).
"""

from __future__ import annotations

from typing import Any

from rlway_client.common.quote import reason
from rlway_client.contract.errors import ExportRefused
from rlway_export.sources.onnx.file import opset_of

OPSET = 17
IR_VERSION = 8  # of that opset


def modern(model: Any, name: str) -> Any:
    """A copy in opset `OPSET` or newer; `name` is the file in messages."""
    import onnx
    import onnx.version_converter

    opset = opset_of(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if opset < OPSET:
        try:
            copy = onnx.version_converter.convert_version(copy, OPSET)
        except Exception as error:  # the converter raises RuntimeError for whatever it lacks
            raise ExportRefused(
                f"{name}: cannot be brought from opset {opset} to {OPSET}: {reason(error)}; export it with "
                f"opset_version={OPSET}."
            ) from None
    del copy.opset_import[:], copy.metadata_props[:]
    copy.opset_import.append(onnx.helper.make_opsetid("", max(opset, OPSET)))
    copy.ir_version = max(IR_VERSION, min(copy.ir_version, onnx.IR_VERSION) if opset > OPSET else IR_VERSION)
    return copy
