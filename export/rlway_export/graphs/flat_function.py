"""A function of TensorFlow that takes and gives lists of tensors, whatever nests it was written with.

In:      a concrete function.
Out:     the same operations and variables in a function of tensors in a row.
"""

from __future__ import annotations

from typing import Any


def flat_function(function: Any, graph: Any = None) -> Any:
    """`graph` is another GraphDef to take in place of the function's own, with the same names."""
    import tensorflow as tf

    captured = list(function.captured_inputs)
    own = function.inputs[: len(function.inputs) - len(captured)]
    variables = {tensor.name: value for tensor, value in zip(function.inputs[len(own) :], captured, strict=True)}
    content = graph or function.graph.as_graph_def()
    _forget_order(content, {f"^{tensor.op.name}" for tensor in function.inputs})

    def run(*given: Any) -> Any:
        traced = tf.compat.v1.get_default_graph()
        for variable in function.graph.variables:
            traced.watch_variable(variable)
        values = {name: traced.capture(variable) for name, variable in variables.items()}
        values |= dict(zip((tensor.name for tensor in own), given, strict=True))
        return tf.graph_util.import_graph_def(content, values, [tensor.name for tensor in function.outputs], name="")

    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in own]
    return tf.function(run, signature, autograph=False).get_concrete_function()


def _forget_order(graph: Any, inputs: set[str]) -> None:
    """Drops what says where an operation is placed, or that it waits for an input: those are there from the start."""
    for node in graph.node:
        node.attr.pop("_class", None)
        node.input[:] = [name for name in node.input if name not in inputs]
