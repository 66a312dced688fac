"""ONNX's operators that reduce axes in TensorFlow: sums, means, extremes, softmax, argmax.

In:      tensors; axes as an attribute or, in newer opsets, as an input.
Out:     a tensor.
Refuses: axes that are computed; the last of equal elements (NotLowered).
"""

from __future__ import annotations

from typing import Any

from rlway_export.formats.lowering.values import Node, NotLowered, Value

REDUCTIONS = {
    "ReduceLogSumExp": "reduce_logsumexp",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
}


def reduce(node: Node) -> Value:
    """Any of `REDUCTIONS`."""
    import tensorflow as tf

    axes = node.value(1).whole if node.has(1) else node.get("axes")
    if not axes and node.get("noop_with_empty_axes"):
        return node.value()
    apply: Any = getattr(tf, REDUCTIONS[node.kind])
    return Value(apply(node.value().plain, axis=axes or None, keepdims=bool(node.get("keepdims", 1))))


def softmax(node: Node) -> Value:
    """Softmax and LogSoftmax along one axis."""
    import tensorflow as tf

    value = node.value().plain
    axis, last = node.axis(-1, len(node.value().shape)), len(node.value().shape) - 1
    apply = tf.nn.softmax if node.kind == "Softmax" else tf.nn.log_softmax
    if axis == last:
        return Value(apply(value))
    order = [i for i in range(last + 1) if i != axis] + [axis]
    back = [order.index(i) for i in range(last + 1)]
    return Value(tf.transpose(apply(tf.transpose(value, order)), back))


def arg_extreme(node: Node) -> Value:
    """ArgMax and ArgMin: the first of equal elements."""
    import tensorflow as tf

    if node.get("select_last_index"):
        raise NotLowered("the last of equal elements")
    axis = node.axis(0, len(node.value().shape))
    apply = tf.argmax if node.kind == "ArgMax" else tf.argmin
    place = apply(node.value().plain, axis, output_type=tf.int64)
    return Value(tf.expand_dims(place, axis) if node.get("keepdims", 1) else place)


def cumulative_sum(node: Node) -> Value:
    import tensorflow as tf

    (axis,) = node.value(1).whole
    reverse, exclusive = (bool(node.get(name)) for name in ("reverse", "exclusive"))
    return Value(tf.cumsum(node.value().plain, axis, exclusive=exclusive, reverse=reverse))


def einsum(node: Node) -> Value:
    import tensorflow as tf

    return Value(tf.einsum(node.get("equation").decode(), *node.tensors()))
