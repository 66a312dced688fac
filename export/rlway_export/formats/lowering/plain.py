"""A graph of plain operators: recurrent layers, normalisations and rarer activations in terms of simpler ones.

In:      an ONNX model in opset 17 or newer.
Out:     a model that computes the same, of the operators that C source and TensorFlow are written for; an operator of
         which no plain form is known stays, and the writer that meets it names it.

The ONNX file itself keeps its operators: onnxruntime has fast kernels for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_export.formats.lowering.builder import Builder
from rlway_export.formats.lowering.recurrent import ACTIVATIONS, unroll_layer
from rlway_export.sources.onnx.file import opset_of

Attributes = dict[str, Any]
Rewrite = Callable[[Any, Attributes, Builder], bool]


def plain(model: Any) -> Any:
    """The model; the same object where nothing had to be rewritten."""
    import onnx

    if not any(node.op_type in REWRITES for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    opset, shapes, constants = opset_of(copy), _shapes(copy), _constants(copy)
    nodes: list[Any] = []
    for i, node in enumerate(copy.graph.node):
        builder = Builder(f"plain_{i}_{node.op_type}", opset, constants, shapes)
        rewrite = REWRITES.get(node.op_type)
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if rewrite is not None and rewrite(node, attributes, builder):
            nodes += builder.nodes
            copy.graph.initializer.extend(builder.made)
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    return copy


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _constants(model: Any) -> dict[str, AnyArray]:
    import onnx

    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = next((one for one in node.attribute if node.op_type == "Constant" and one.name == "value"), None)
        if value is not None:
            found[node.output[0]] = onnx.numpy_helper.to_array(value.t)
    return found


def _batch_normalization(node: Any, attributes: Attributes, builder: Builder) -> bool:
    """Of known statistics: one product and one sum per channel."""
    parts = [builder.constants.get(name) for name in node.input[1:5]]
    rank = len(builder.shapes.get(node.input[0], ()))
    if attributes.get("training_mode") or any(part is None for part in parts) or rank < 2:
        return False
    scale, shift, mean, variance = (np.asarray(part, np.float64) for part in parts)
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    shape = (-1, *[1] * (rank - 2))
    dtype = np.asarray(parts[0]).dtype
    scaled = builder.add("Mul", node.input[0], factor.astype(dtype).reshape(shape))
    builder.add("Add", scaled, (shift - mean * factor).astype(dtype).reshape(shape), output=node.output[0])
    return True


def _layer_normalization(node: Any, attributes: Attributes, builder: Builder) -> bool:
    rank = len(builder.shapes.get(node.input[0], ()))
    if not rank or any(node.output[1:]):
        return False
    axes = list(range(attributes.get("axis", -1) % rank, rank))
    centred = builder.add("Sub", node.input[0], builder.reduce("ReduceMean", node.input[0], axes))
    variance = builder.reduce("ReduceMean", builder.add("Mul", centred, centred), axes)
    deviation = builder.add("Sqrt", builder.add("Add", variance, attributes.get("epsilon", 1e-5)))
    value = builder.add("Mul", builder.add("Div", centred, deviation), node.input[1])
    if len(node.input) > 2 and node.input[2]:
        value = builder.add("Add", value, node.input[2])
    builder.identity(value, node.output[0])
    return True


def _gemm(node: Any, attributes: Attributes, builder: Builder) -> bool:
    """One with factors or a transposed input; weights that are transposed stay as they are."""
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if alpha == beta == 1.0 and not attributes.get("transA"):
        return False
    left, right = node.input[:2]
    left = builder.add("Transpose", left, perm=[1, 0]) if attributes.get("transA") else left
    if attributes.get("transB"):
        known = builder.constants.get(right)
        right = builder.add("Transpose", right, perm=[1, 0]) if known is None else builder.constant(known.T.copy())
    value = builder.add("MatMul", left, right)
    value = value if alpha == 1.0 else builder.add("Mul", value, alpha)
    if len(node.input) > 2 and node.input[2]:
        bias = node.input[2] if beta == 1.0 else builder.add("Mul", node.input[2], beta)
        value = builder.add("Add", value, bias)
    builder.identity(value, node.output[0])
    return True


def _pairwise(kind: str, mean: bool = False) -> Rewrite:
    """An operator of any number of inputs, two at a time."""

    def rewrite(node: Any, _: Attributes, builder: Builder) -> bool:
        if len(node.input) == 2 and node.op_type == kind:
            return False
        value = node.input[0]
        for other in node.input[1:]:
            value = builder.add(kind, value, other)
        builder.identity(builder.add("Div", value, float(len(node.input))) if mean else value, node.output[0])
        return True

    return rewrite


def _global_pool(kind: str) -> Rewrite:
    def rewrite(node: Any, _: Attributes, builder: Builder) -> bool:
        rank = len(builder.shapes.get(node.input[0], ()))
        if rank < 3:
            return False
        builder.reduce(kind, node.input[0], list(range(2, rank)), output=node.output[0])
        return True

    return rewrite


def _norm(node: Any, attributes: Attributes, builder: Builder) -> bool:
    """ReduceL1, ReduceL2, ReduceSumSquare over known axes."""
    axes = attributes.get("axes")
    if len(node.input) > 1 and node.input[1]:
        known = builder.constants.get(node.input[1])
        axes = None if known is None else [int(axis) for axis in known]
    if not axes:
        return False
    value = node.input[0]
    value = builder.add("Abs", value) if node.op_type == "ReduceL1" else builder.add("Mul", value, value)
    value = builder.reduce("ReduceSum", value, axes, attributes.get("keepdims", 1))
    builder.identity(builder.add("Sqrt", value) if node.op_type == "ReduceL2" else value, node.output[0])
    return True


def _hard_sigmoid(node: Any, attributes: Attributes, builder: Builder) -> bool:
    return _hard(node, builder, attributes.get("alpha", 0.2), attributes.get("beta", 0.5))


def _hard_swish(node: Any, _: Attributes, builder: Builder) -> bool:
    return _hard(node, builder, 1 / 6, 0.5, times=node.input[0])


def _hard(node: Any, builder: Builder, alpha: float, beta: float, times: str = "") -> bool:
    line = builder.add("Add", builder.add("Mul", node.input[0], alpha), beta)
    value = builder.add("Clip", line, np.array(0.0, np.float32), np.array(1.0, np.float32))
    builder.identity(builder.add("Mul", value, times) if times else value, node.output[0])
    return True


def _selu(node: Any, attributes: Attributes, builder: Builder) -> bool:
    alpha, gamma = (
        attributes.get("alpha", 1.67326319217681884765625),
        attributes.get("gamma", 1.05070102214813232421875),
    )
    builder.add("Mul", builder.add("Elu", node.input[0], alpha=alpha), gamma, output=node.output[0])
    return True


def _prelu(node: Any, _: Attributes, builder: Builder) -> bool:
    x, slope = node.input
    low = builder.add("Mul", builder.add("Min", x, 0.0), slope)
    builder.add("Add", builder.add("Relu", x), low, output=node.output[0])
    return True


def _mish(node: Any, _: Attributes, builder: Builder) -> bool:
    slow = builder.add("Tanh", builder.add("Softplus", node.input[0]))
    builder.add("Mul", node.input[0], slow, output=node.output[0])
    return True


def _gelu(node: Any, attributes: Attributes, builder: Builder) -> bool:
    x = node.input[0]
    if attributes.get("approximate", b"none") == b"tanh":
        cube = builder.add("Mul", builder.add("Mul", x, x), x)
        inner = builder.add("Add", x, builder.add("Mul", cube, 0.044715))
        part = builder.add("Tanh", builder.add("Mul", inner, float(np.sqrt(2 / np.pi))))
    else:
        part = builder.add("Erf", builder.add("Mul", x, float(np.sqrt(0.5))))
    half = builder.add("Mul", x, 0.5)
    builder.add("Mul", half, builder.add("Add", part, 1.0), output=node.output[0])
    return True


REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(ACTIVATIONS, unroll_layer),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare"), _norm),
    "BatchNormalization": _batch_normalization,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_normalization,
    "Max": _pairwise("Max"),
    "Mean": _pairwise("Add", mean=True),
    "Min": _pairwise("Min"),
    "Mish": _mish,
    "PRelu": _prelu,
    "Selu": _selu,
    "Sum": _pairwise("Add"),
}
