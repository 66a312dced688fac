"""ONNX's operators in TensorFlow: the function that lowers each of them.

In:      a node, the values of its inputs.
Out:     the values of its outputs.
Refuses: an operator without such a function, a form of one that TensorFlow does not have (NotLowered).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlway_export.formats.lowering import elementwise, layers, movement, reductions
from rlway_export.formats.lowering.values import Node, NotLowered, Value

LOWERINGS: dict[str, Callable[[Node], Value | list[Value]]] = {
    **dict.fromkeys(elementwise.UNARY, elementwise.unary),
    **dict.fromkeys(elementwise.OTHERS, elementwise.formula),
    **dict.fromkeys(reductions.REDUCTIONS, reductions.reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax"), reductions.softmax),
    **dict.fromkeys(("ArgMax", "ArgMin"), reductions.arg_extreme),
    **dict.fromkeys(("Dropout", "Identity"), movement.identity),
    "AveragePool": layers.average_pool,
    "Cast": elementwise.cast,
    "Clip": elementwise.clip,
    "Concat": movement.concat,
    "Constant": movement.constant,
    "ConstantOfShape": movement.constant_of_shape,
    "Conv": layers.conv,
    "CumSum": reductions.cumulative_sum,
    "Div": elementwise.divide,
    "Einsum": reductions.einsum,
    "Elu": elementwise.elu,
    "Expand": movement.expand,
    "Flatten": movement.flatten,
    "Gather": movement.gather,
    "GatherElements": movement.gather_elements,
    "GatherND": movement.gather_nd,
    "Gemm": layers.gemm,
    "LeakyRelu": elementwise.leaky_relu,
    "MatMul": layers.matmul,
    "MaxPool": layers.maxpool,
    "Mod": elementwise.modulo,
    "OneHot": movement.one_hot,
    "Pad": movement.pad,
    "Pow": elementwise.power,
    "Range": movement.number_range,
    "Reshape": movement.reshape,
    "Shape": movement.shape,
    "Size": movement.size,
    "Slice": movement.slice_axes,
    "Split": movement.split,
    "Squeeze": movement.squeeze,
    "Tile": movement.tile,
    "Transpose": movement.transpose,
    "Unsqueeze": movement.unsqueeze,
}


def lower_node(node: Node) -> list[Value]:
    """The outputs; a node whose inputs are all constants is computed at once."""
    import tensorflow as tf

    lowering = LOWERINGS.get(node.kind)
    if lowering is None:
        raise NotLowered("")
    is_constant = node.inputs and all(value is None or value.is_constant for value in node.inputs)
    if not is_constant:
        found = lowering(node)
        return found if isinstance(found, list) else [found]
    with tf.init_scope():
        found = lowering(node)
        values = found if isinstance(found, list) else [found]
        return [Value(np.asarray(tf.convert_to_tensor(value.plain).numpy())) for value in values]
