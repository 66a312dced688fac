"""A graph for one row without a batch dimension, over a batch: every axis moves one place back.

In:      a model whose inputs are single rows.
Out:     the same operators with a batch dimension before all others; whether that gives the same has to be tried.

Only the axes that are counted from the front have to move. Constants stay as they are, because they broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# What the attribute `axis` is where it is left out.
DEFAULT_AXIS = {"ArgMax": 0, "ArgMin": 0, "Gather": 0, "GatherElements": 0, "Split": 0, "Concat": 0}
COUNTED_BACK = ("LayerNormalization", "LogSoftmax", "Softmax")  # their default is −1
AXES_INPUT = {"CumSum": 1, "ReduceSum": 1, "Slice": 3, "Squeeze": 1, "Unsqueeze": 1}
RESHAPING = "Reshape"


def lifted(model: Any) -> Any:
    """A copy; what an axis cannot be found of stays as it is."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for one in node.attribute:
            if node.op_type == "Constant" and one.name == "value":
                constants[node.output[0]] = onnx.numpy_helper.to_array(one.t)
    rows = {value.name for value in graph.input}
    for number, node in enumerate(graph.node):
        if rows.isdisjoint(node.input):
            continue
        rows.update(node.output)
        _move_attributes(node)
        place = 1 if node.op_type == RESHAPING else AXES_INPUT.get(node.op_type)
        if node.op_type.startswith("Reduce") and len(node.input) > 1:
            place = 1
        if place is None or len(node.input) <= place or node.input[place] not in constants:
            continue
        value = constants[node.input[place]]
        # In a reshape, 0 keeps the batch; a 0 of its own means the same dimension as before, one place back.
        moved = np.concatenate([[0], value]) if node.op_type == RESHAPING else np.where(value >= 0, value + 1, value)
        made = onnx.numpy_helper.from_array(moved.astype(value.dtype), f"rlway_lifted_{number}")
        graph.initializer.append(made)
        node.input[place] = made.name
    return copy


def _move_attributes(node: Any) -> None:
    import onnx

    found = {one.name: one for one in node.attribute}
    if node.op_type in DEFAULT_AXIS and "axis" not in found:
        node.attribute.append(onnx.helper.make_attribute("axis", DEFAULT_AXIS[node.op_type] + 1))
    elif "axis" in found and node.op_type in (*DEFAULT_AXIS, *COUNTED_BACK) and found["axis"].i >= 0:
        found["axis"].i += 1
    if "axes" in found and node.op_type.startswith("Reduce"):
        found["axes"].ints[:] = [axis + 1 if axis >= 0 else axis for axis in found["axes"].ints]
    if node.op_type == "Transpose" and "perm" in found:
        found["perm"].ints[:] = [0, *(axis + 1 for axis in found["perm"].ints)]
