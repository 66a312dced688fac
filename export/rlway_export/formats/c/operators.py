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
from rlway_export.formats.c.data_movement import concat, expand, pad, reshape, slice_axes, split, tile, transpose
from rlway_export.formats.c.elementwise import cast, clip, elementwise, one_hot
from rlway_export.formats.c.formulas import ELEMENTWISE
from rlway_export.formats.c.indexing import gather, gather_elements, gather_nd
from rlway_export.formats.c.layers import conv, gemm, matmul, maxpool
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.reductions import REDUCTIONS, best_place, cumulate, reduce, softmax

WRITERS: dict[str, Callable[[Operation, Body], None]] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(("LogSoftmax", "Softmax"), softmax),
    **dict.fromkeys(("ArgMax", "ArgMin"), best_place),
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "CumSum": cumulate,
    "Expand": expand,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": maxpool,
    "OneHot": one_hot,
    "Pad": pad,
    "Slice": slice_axes,
    "Split": split,
    "Tile": tile,
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
