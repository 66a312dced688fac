"""ONNX operators in C: the function that writes each of them.

In:      an operation, the body that it is written into.
Out:     its outputs, computed by the body's statements.
Refuses: an operator without such a function (ExportRefused names it).
"""

from __future__ import annotations

from collections.abc import Callable

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.c.body import Body
from rlway_export.formats.c.data_movement import concat, expand, gather, reshape, slice_axes, split, transpose
from rlway_export.formats.c.elementwise import FORMULAS, cast, clip, elementwise
from rlway_export.formats.c.layers import conv, gemm, matmul, maxpool
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.reductions import REDUCTIONS, argmax, reduce, softmax

WRITERS: dict[str, Callable[[Operation, Body], None]] = {
    **dict.fromkeys(FORMULAS, elementwise),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(("LogSoftmax", "Softmax"), softmax),
    "ArgMax": argmax,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "Expand": expand,
    "Gather": gather,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": maxpool,
    "Slice": slice_axes,
    "Split": split,
    "Transpose": transpose,
}


def write_operation(operation: Operation, body: Body) -> None:
    """Appends the statements that compute the operation's outputs."""
    if operation.kind not in WRITERS:
        raise ExportRefused(
            f"C: the operator {operation.kind} ({short_name(operation.name)}) cannot be written as C source; leave c "
            f"out of --formats."
        )
    WRITERS[operation.kind](operation, body)
    body.finish(operation)
