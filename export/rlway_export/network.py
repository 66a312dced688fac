"""An ONNX model as a list of steps over arrays of known size: what a program in another language is written from.

In:      the float32 ONNX model of a policy.
Out:     `Network`: its constants, and its operations in order, for one row.
Refuses: a graph whose sizes depend on more than the batch, constants that are not finite (ExportRefused).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from rlway_client.errors import ExportRefused
from rlway_client.specs import AnyArray


class Operation(NamedTuple):
    """One operator with what goes in and what comes out, by name."""

    kind: str  # ONNX's name: MatMul, Relu, …
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Network(NamedTuple):
    """The operations of one row. Sizes count elements: arrays are flat, in row-major order."""

    operations: list[Operation]
    constants: dict[str, AnyArray]
    shapes: dict[str, tuple[int, ...]]  # of everything that is computed, with a batch of 1
    dtypes: dict[str, str]  # likewise, numpy's names
    uses: Counter[str]  # how often each value is read, the graph's outputs included

    def size(self, name: str) -> int:
        """Elements of one value."""
        shape = self.constants[name].shape if name in self.constants else self.shapes[name]
        return int(np.prod(shape))


def read_network(model: Any) -> Network:
    """The model with a batch of one row; what is computed from constants alone is a constant, too."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in [*single.graph.input, *single.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    try:
        graph = onnx.shape_inference.infer_shapes(single, check_type=True, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ExportRefused(f"C: the policy's sizes cannot be told: {str(error).splitlines()[0]}.") from error
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    operations = []
    for node in graph.node:
        if not _fold(node, constants):
            operations.append(_operation(node))
    read = dict.fromkeys(name for operation in operations for name in operation.inputs)  # in the order of their use
    constants = {name: constants[name] for name in read if name in constants}
    for name, value in constants.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ExportRefused(f"C: the constant {name} is not finite, so the policy cannot be written as source.")
    shapes, dtypes = {}, {}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        dtypes[value.name] = str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    uses = Counter(name for operation in operations for name in operation.inputs)
    uses.update(output.name for output in graph.output)
    return Network(operations, constants, shapes, dtypes, uses)


def _operation(node: Any) -> Operation:
    import onnx

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Operation(node.op_type, node.name, tuple(node.input), tuple(node.output), attributes)


def _fold(node: Any, constants: dict[str, AnyArray]) -> bool:
    """Computes the node now, if it depends on no input of the policy."""
    from onnx.reference import ReferenceEvaluator

    if not all(name in constants for name in node.input if name):
        return False
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        values = ReferenceEvaluator(node).run(None, {name: constants[name] for name in node.input if name})
    constants.update(zip(node.output, values, strict=True))
    return True
