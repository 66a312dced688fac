"""Draws of `tf.random.Generator`, whose state is a variable, as draws without a variable.

In:      a concrete function.
Out:     the function with fresh random numbers in place of each generator's: they have the same distribution, and no
         variable changes any more.
"""

from __future__ import annotations

from typing import Any

from rlway_export.graphs.flat_function import flat_function

KEY = "RngReadAndSkip"  # reads the generator's state, of which a stateless draw makes its numbers
KEY_SIZE = 3  # of int64: the counter, the key
# Draws that read the state themselves, as in TensorFlow until 2.4: of a resource, an algorithm, a shape.
PLAIN = {
    "StatefulStandardNormalV2": "RandomStandardNormal",
    "StatefulTruncatedNormal": "TruncatedNormal",
    "StatefulUniform": "RandomUniform",
}


def without_generators(function: Any) -> Any:
    """The function itself where it has no generator."""
    graph = function.graph.as_graph_def()
    functions = list(graph.library.function)
    parts = [(graph.node, None), *((called.node_def, called) for called in functions)]
    found = [(nodes, called, node) for nodes, called in parts for node in list(nodes) if node.op in (KEY, *PLAIN)]
    for nodes, called, node in found:
        if node.op == KEY:
            _draw_key(nodes, called, node)
        else:
            _draw_plainly(node)
    return flat_function(function, graph) if found else function


def _draw_key(nodes: Any, called: Any, node: Any) -> None:
    """Makes a random key in place of the generator's next one. `called` is the function of these nodes, if any."""
    import tensorflow as tf

    output = ":output:0" if called is not None else ""
    limits = tf.constant([KEY_SIZE], tf.int32), tf.constant(tf.int64.min), tf.constant(tf.int64.max)
    inputs = []
    for i, value in enumerate(limits):
        constant = nodes.add(name=f"{node.name}_{i}", op="Const")
        constant.attr["dtype"].type = value.dtype.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        inputs.append(f"{constant.name}{output}")
    _become(node, "RandomUniformInt", inputs, T=tf.int32, Tout=tf.int64)
    if called is not None:  # in functions, outputs have names
        old, new = f"{node.name}:value:0", f"{node.name}{output}"
        for reader in nodes:
            reader.input[:] = [new if name == old else name for name in reader.input]
        for result, name in list(called.ret.items()):
            called.ret[result] = new if name == old else name


def _draw_plainly(node: Any) -> None:
    shape, kinds = node.input[2], dict(node.attr)
    of_shape, of_numbers = kinds["shape_dtype"].type, kinds["dtype"].type
    _become(node, PLAIN[node.op], [shape], T=of_shape, dtype=of_numbers)


def _become(node: Any, op: str, inputs: list[str], **types: Any) -> None:
    import tensorflow as tf

    node.op = op
    node.input[:] = inputs
    node.attr.clear()
    for name, kind in types.items():
        node.attr[name].type = tf.as_dtype(kind).as_datatype_enum
    for seed in ("seed", "seed2"):
        node.attr[seed].i = 0
