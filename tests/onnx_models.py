"""ONNX models for tests and benchmarks, built node by node.

In:      nodes, inputs, outputs and constants.
Out:     the model file's bytes, checked; dense layers with random weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rlway_client.contract.specs import AnyArray

Values = list[tuple[str, int, list[Any]]]  # inputs or outputs: name, type, shape
ACTION = ("action", TensorProto.INT64, ["B"])


def make_model(nodes: list[Any], inputs: Values, outputs: Values, constants: dict[str, Any]) -> bytes:
    """The file's bytes."""
    values = [helper.make_tensor_value_info(*output) for output in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    taken = [helper.make_tensor_value_info(*value) for value in inputs]
    graph = helper.make_graph(nodes, "policy", taken, values, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def relu_layers(
    sizes: list[int], value: str, constants: dict[str, Any], generator: np.random.Generator
) -> tuple[list[Any], str]:
    """Dense ReLU layers of these sizes behind `value`, and their output's name; adds their weights to `constants`."""
    nodes = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        constants[f"w{i}"] = random_weights((fan_in, fan_out), generator)
        constants[f"b{i}"] = np.zeros(fan_out, np.float32)
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [value := f"r{i}"]))
    return nodes, value


def random_weights(shape: tuple[int, ...], generator: np.random.Generator) -> AnyArray:
    """Weights of a dense layer [in, out], or of a convolution [filters, channels, height, width]."""
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    weights: AnyArray = (generator.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
    return weights
