"""A policy in ONNX as a function of TensorFlow.

In:      its model with the contract's inputs and outputs, its interface.
Out:     `LoweredPolicy`: what SavedModel, TFLite and the search for tables are made from.
Refuses: an operator that has no lowering (ExportRefused names it, and the node).

It is never the reference: what is made of it is compared with the ONNX file, as every other file is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays
from rlway_export.formats.lowering.operators import lower_node
from rlway_export.formats.lowering.values import Node, NotLowered, Value
from rlway_export.reference.policy import SavedPolicy

SERVING = "serving_default"


class LoweredPolicy(SavedPolicy):
    """Traces the graph on construction, so that what cannot be lowered is refused at once."""

    def __init__(self, model: Any, interface: Interface, rows: int | None) -> None:
        """`model` is in plain operators; `rows` is the number of rows that it takes, None for any."""
        self._graph, self.interface, self.rows, self.notes = model.graph, interface, rows, []
        self.module(rows).act.get_concrete_function()

    def save(self, folder: Path) -> None:
        """Writes the SavedModel, whose signature has the names of the contract."""
        import tensorflow as tf

        module = self.module(self.rows)
        tf.saved_model.save(module, str(folder), signatures={SERVING: module.act})

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call with the first row."""
        rows = [inputs[spec.name][:1] for spec in self.interface.inputs]
        return lambda: self._run(rows)

    @property
    def _model(self) -> Any:
        return self._graph

    @cached_property
    def _constants(self) -> dict[str, Value]:
        import onnx

        return {tensor.name: Value(onnx.numpy_helper.to_array(tensor)) for tensor in self._graph.initializer}

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        names = [spec.name for spec in self.interface.inputs]
        values = self._constants | {name: Value(tensor) for name, tensor in zip(names, inputs, strict=True)}
        for node in self._graph.node:
            for name, value in zip(node.output, _lower(node, values), strict=False):
                values[name] = value
        results = {}
        for spec in self.interface.results:
            value = tf.convert_to_tensor(values[spec.name].plain)
            value.set_shape([inputs[0].shape[0], *spec.shape])
            results[spec.name] = value
        return results


def _lower(node: Any, values: dict[str, Value]) -> list[Value]:
    import onnx

    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    inputs = [values[name] if name else None for name in node.input]
    outputs = len([name for name in node.output if name])
    try:
        return lower_node(Node(node.op_type, inputs, attributes, outputs))
    except NotLowered as error:
        what = f"{node.op_type} with {error}" if str(error) else node.op_type
        why = f"has no lowering for {what}, which {_title(node)} is made of"
    except Exception as error:  # TensorFlow raises many unrelated kinds for values that an operator does not take
        why = f"cannot take {node.op_type}, which {_title(node)} is made of: {reason(error)}"
    raise ExportRefused(f"TensorFlow: {why}; leave the formats of TFLite out of --formats.")


def _title(node: Any) -> str:
    """The node's name, or that of its first output, without the prefix of the source."""
    return short_name((node.name or next(iter(node.output), "")).removeprefix("source/"))


def rows_of_model(model: Any) -> int | None:
    """The number of rows that the model takes; None for any."""
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    return int(dim.dim_value) if dim.HasField("dim_value") else None
