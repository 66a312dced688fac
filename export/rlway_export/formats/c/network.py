"""An ONNX model as a list of operations over arrays of known size, from which C source is written.

In:      the float32 ONNX model of a policy.
Out:     `Network`: its constants, and its operations in order, for one row.
Refuses: a graph whose sizes depend on more than the batch, constants that are NaN (ExportRefused).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import AnyArray

RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


class Operation(NamedTuple):
    """One operator with the names of its inputs and outputs."""

    kind: str  # ONNX's name: MatMul, Relu, …
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Network(NamedTuple):
    """The operations of one row."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: list[Operation]
    constants: dict[str, AnyArray]
    shapes: dict[str, tuple[int, ...]]  # of every value, with a batch of 1
    dtypes: dict[str, str]  # of every value, numpy's names
    uses: Counter[str]  # how often each value is read, the graph's outputs included

    def size(self, name: str) -> int:
        """Elements of one value."""
        return math.prod(self.shapes[name])


def read_network(model: Any) -> Network:
    """The model with a batch of one row; values that are the same for every row are constants."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    inputs = {value.name: _one_row(value) for value in single.graph.input}
    outputs = tuple(output.name for output in single.graph.output)
    values = inputs | _run(single, inputs)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in single.graph.initializer}
    values |= constants
    operations = []
    for node in single.graph.node:
        if _is_constant(node, constants):
            constants.update({name: values[name] for name in node.output if name})
        else:
            operations.append(_operation(node))
    operations = _needed(operations, outputs)
    uses = Counter(name for operation in operations for name in operation.inputs)
    uses.update(outputs)
    constants = {name: constants[name] for name in uses if name in constants}  # in the order of their use
    for name, value in constants.items():
        if value.dtype.kind == "f" and np.isnan(value).any():
            raise ExportRefused(
                f"C: the constant {short_name(name)} holds NaN, so the policy cannot be written as source."
            )
    shapes = {name: value.shape for name, value in values.items()}
    dtypes = {name: str(value.dtype) for name, value in values.items()}
    return Network(tuple(inputs), outputs, operations, constants, shapes, dtypes, uses)


def _one_row(value: Any) -> AnyArray:
    """A row of zeros for an input, whose batch becomes 1."""
    import onnx

    kind = value.type.tensor_type
    kind.shape.dim[0].dim_value = 1
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    if not all(shape):
        raise ExportRefused(
            f"C: input {short_name(value.name)}: expected only the batch to be free, got the shape {list(shape)}."
        )
    return np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


def _run(model: Any, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Every value of the graph for one row of zeros. Only constants keep their values; of others, only sizes count."""
    import onnx
    import onnxruntime as ort

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del shown.graph.output[:], shown.graph.value_info[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what fails is raised
    try:
        session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:  # onnxruntime raises a dozen unrelated kinds
        raise ExportRefused(f"C: the policy's sizes cannot be told: {reason(error)}.") from error


def _is_constant(node: Any, constants: dict[str, AnyArray]) -> bool:
    """Whether the node gives the same for every row: it depends on no input of the policy, or only on its size."""
    if node.op_type in ("Shape", "Size"):
        return True
    branches = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    return node.op_type not in RANDOM and not branches and all(name in constants for name in node.input if name)


def _operation(node: Any) -> Operation:
    import onnx

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Operation(node.op_type, node.name, tuple(node.input), tuple(node.output), attributes)


def _needed(operations: list[Operation], outputs: tuple[str, ...]) -> list[Operation]:
    """The operations on which an output depends, without those that only computed sizes."""
    read, kept = set(outputs), []
    for operation in reversed(operations):
        if read.intersection(operation.outputs):
            read.update(operation.inputs)
            kept.append(operation)
    return kept[::-1]
