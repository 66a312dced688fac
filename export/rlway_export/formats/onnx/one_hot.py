"""A one-hot encoding in ONNX that gives the same as TensorFlow's.

In:      a OneHot of TensorFlow's graph, as tf2onnx passes it to a handler.
Out:     a comparison of the indices with 0, 1, 2, … in its place.

ONNX has a OneHot as well, but it counts negative indices from the end, where TensorFlow gives zeros. C source, too, is
written for the comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def convert_one_hot(graph: Any, node: Any, *_: Any, **__: Any) -> None:
    """The handler of an operator, as tf2onnx calls it."""
    import onnx
    from tf2onnx.onnx_opset.tensor import OneHot
    from tf2onnx.utils import make_name

    kinds = onnx.TensorProto
    indices, _, on, off = node.input
    rank, depth, outputs = graph.get_rank(indices), node.inputs[1], list(node.output)
    if rank is None or not depth.is_const():
        OneHot.version_13(graph, node)
        return
    shape, dtype = graph.get_shape(outputs[0]), graph.get_dtype(outputs[0])
    axis = node.get_attr_value("axis", -1) % (rank + 1)
    # Types that onnxruntime can compare, and can choose between.
    of_index = kinds.INT64 if graph.get_dtype(indices) == kinds.INT64 else kinds.INT32
    of_choice = dtype if dtype in (kinds.FLOAT, kinds.INT32, kinds.INT64) else kinds.FLOAT

    def make(kind: str, inputs: list[str], **attributes: Any) -> str:
        made: str = graph.make_node(kind, inputs, attr=attributes).output[0]
        return made

    def constant(value: Any) -> str:
        name: str = graph.make_const(make_name("one_hot"), value).output[0]
        return name

    whole = np.int64 if of_index == kinds.INT64 else np.int32
    counted = np.arange(depth.get_tensor_value(), dtype=whole).reshape(-1, *[1] * (rank - axis))
    graph.remove_node(node.name)
    spread = make("Unsqueeze", [make("Cast", [indices], to=of_index), constant(np.array([axis], np.int64))])
    equal = make("Equal", [spread, constant(counted)])
    chosen = make("Where", [equal, *(make("Cast", [value], to=of_choice) for value in (on, off))])
    graph.make_node("Cast", [chosen], attr={"to": dtype}, outputs=outputs, shapes=[shape], dtypes=[dtype])
