"""A one-hot encoding in ONNX that gives what TensorFlow gives.

In:      a OneHot of TensorFlow's graph, as tf2onnx shows it.
Out:     the indices compared with 0, 1, 2, … in its place.

ONNX has a OneHot, too, but counts negative indices from the end, where TensorFlow gives nothing but zeros; and C source
is written for the comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def convert_one_hot(context: Any, node: Any, *_: Any, **__: Any) -> None:
    """As tf2onnx calls the handler of an operator."""
    import onnx
    from tf2onnx.onnx_opset.tensor import OneHot
    from tf2onnx.utils import make_name

    kinds = onnx.TensorProto
    indices, _, on, off = node.input
    rank, depth, outputs = context.get_rank(indices), node.inputs[1], list(node.output)
    if rank is None or not depth.is_const():
        OneHot.version_13(context, node)
        return
    shape, dtype = context.get_shape(outputs[0]), context.get_dtype(outputs[0])
    axis = node.get_attr_value("axis", -1) % (rank + 1)
    # What onnxruntime compares, and what it chooses between.
    of_index = kinds.INT64 if context.get_dtype(indices) == kinds.INT64 else kinds.INT32
    of_choice = dtype if dtype in (kinds.FLOAT, kinds.INT32, kinds.INT64) else kinds.FLOAT

    def make(kind: str, inputs: list[str], **attributes: Any) -> str:
        made: str = context.make_node(kind, inputs, attr=attributes).output[0]
        return made

    def constant(value: Any) -> str:
        name: str = context.make_const(make_name("one_hot"), value).output[0]
        return name

    whole = np.int64 if of_index == kinds.INT64 else np.int32
    counted = np.arange(depth.get_tensor_value(), dtype=whole).reshape(-1, *[1] * (rank - axis))
    context.remove_node(node.name)
    spread = make("Unsqueeze", [make("Cast", [indices], to=of_index), constant(np.array([axis], np.int64))])
    equal = make("Equal", [spread, constant(counted)])
    chosen = make("Where", [equal, *(make("Cast", [value], to=of_choice) for value in (on, off))])
    context.make_node("Cast", [chosen], attr={"to": dtype}, outputs=outputs, shapes=[shape], dtypes=[dtype])
