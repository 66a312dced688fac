"""ONNX's operators on single elements in TensorFlow.

In:      tensors, broadcast as numpy does in both.
Out:     a tensor.
Refuses: a form that TensorFlow does not have (NotLowered).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlway_export.formats.lowering.values import Node, NotLowered, Value

Formula = Callable[..., Any]


def _tf() -> Any:
    import tensorflow as tf

    return tf


UNARY: dict[str, Formula] = {
    "Abs": lambda x: _tf().abs(x),
    "Ceil": lambda x: _tf().math.ceil(x),
    "Cos": lambda x: _tf().cos(x),
    "Erf": lambda x: _tf().math.erf(x),
    "Exp": lambda x: _tf().exp(x),
    "Floor": lambda x: _tf().floor(x),
    "Log": lambda x: _tf().math.log(x),
    "Neg": lambda x: -x,
    "Reciprocal": lambda x: _tf().constant(1, x.dtype) / x,
    "Relu": lambda x: _tf().nn.relu(x),
    "Round": lambda x: _tf().round(x),
    "Sigmoid": lambda x: _tf().sigmoid(x),
    "Sign": lambda x: _tf().sign(x),
    "Sin": lambda x: _tf().sin(x),
    "Softplus": lambda x: _tf().nn.relu(x) + _tf().math.log(_tf().exp(-_tf().abs(x)) + _tf().constant(1, x.dtype)),
    "Softsign": lambda x: x / (_tf().abs(x) + _tf().constant(1, x.dtype)),
    "Sqrt": lambda x: _tf().sqrt(x),
    "Tan": lambda x: _tf().sin(x) / _tf().cos(x),
    "Tanh": lambda x: _tf().tanh(x),
}
OTHERS: dict[str, Formula] = {
    "Add": lambda x, y: x + y,
    "And": lambda x, y: _tf().logical_and(x, y),
    "Equal": lambda x, y: _tf().equal(x, y),
    "Greater": lambda x, y: x > y,
    "GreaterOrEqual": lambda x, y: x >= y,
    "Less": lambda x, y: x < y,
    "LessOrEqual": lambda x, y: x <= y,
    "Max": lambda x, y: _tf().maximum(x, y),
    "Min": lambda x, y: _tf().minimum(x, y),
    "Mul": lambda x, y: x * y,
    "Not": lambda x: _tf().logical_not(x),
    "Or": lambda x, y: _tf().logical_or(x, y),
    "Sub": lambda x, y: x - y,
    "Where": lambda x, y, z: _tf().where(x, y, z),
    "Xor": lambda x, y: _tf().math.logical_xor(x, y),
}


def formula(node: Node) -> Value:
    """Any of `OTHERS`."""
    return Value(OTHERS[node.kind](*node.tensors()))


def unary(node: Node) -> Value:
    """Any of `UNARY`, in the layout that the input has."""
    return _keeping_layout(node.value(), UNARY[node.kind])


def _keeping_layout(value: Value, apply: Formula) -> Value:
    return Value(last=apply(value.channels_last)) if value.is_image else Value(apply(value.plain))


def elu(node: Node) -> Value:
    alpha = float(node.get("alpha", 1.0))
    tf = _tf()
    if alpha == 1.0:
        return _keeping_layout(node.value(), tf.nn.elu)
    return _keeping_layout(node.value(), lambda x: tf.where(x < 0, alpha * (tf.exp(tf.minimum(x, 0)) - 1), x))


def leaky_relu(node: Node) -> Value:
    alpha = float(node.get("alpha", 0.01))
    return _keeping_layout(node.value(), lambda x: _tf().nn.leaky_relu(x, alpha))


def clip(node: Node) -> Value:
    """Between two bounds, either of which may be left out."""
    tf = _tf()

    def apply(x: Any) -> Any:
        x = tf.maximum(x, node.value(1).plain) if node.has(1) else x
        return tf.minimum(x, node.value(2).plain) if node.has(2) else x

    return _keeping_layout(node.value(), apply)


def divide(node: Node) -> Value:
    """Of whole numbers towards zero, as C does."""
    x, y = node.tensors()
    return Value(_tf().math.truediv(x, y) if x.dtype.is_floating else _tf().truncatediv(x, y))


def modulo(node: Node) -> Value:
    x, y = node.tensors()
    return Value(_tf().truncatemod(x, y) if node.get("fmod") else _tf().math.floormod(x, y))


def power(node: Node) -> Value:
    """A square is a product, which every runtime has."""
    x, y = node.tensors()
    if node.value(1).is_constant and node.value(1).array.size == 1 and float(node.value(1).array.ravel()[0]) == 2.0:
        return Value(x * x)
    return Value(_tf().pow(x, _tf().cast(y, x.dtype)))


def cast(node: Node) -> Value:
    import onnx

    tf = _tf()
    dtype = tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(node.get("to")))
    if dtype.name == "string":
        raise NotLowered("text")
    return _keeping_layout(node.value(), lambda x: tf.cast(x, dtype))
