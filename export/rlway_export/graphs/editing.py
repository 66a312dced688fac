"""Adds nodes to a graph of TensorFlow, and puts them in the place of others.

In:      a GraphDef that may be changed.
Out:     the names of new values.
"""

from __future__ import annotations

from typing import Any

from rlway_client.contract.specs import AnyArray

OWN = "rlway"  # the prefix of new nodes


class GraphEditor:
    """Changes one graph in place."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._names = {node.name for node in graph.node}
        self._nodes = {node.name: node for node in graph.node}

    def node(self, name: str) -> Any:
        return self._nodes[name]

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """A new node; types are given as numpy's or TensorFlow's. Returns its first output."""
        node = self._graph.node.add(op=op, name=self._free(f"{OWN}/{op}"))
        self._nodes[node.name] = node
        node.input[:] = inputs
        self._set(node, attributes)
        return f"{node.name}:0"

    def constant(self, value: AnyArray) -> str:
        import tensorflow as tf

        node = self._graph.node.add(op="Const", name=self._free(f"{OWN}/Const"))
        self._nodes[node.name] = node
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return f"{node.name}:0"

    def placeholder(self, name: str, shape: tuple[int | None, ...], dtype: Any) -> str:
        import tensorflow as tf

        node = self._graph.node.add(op="Placeholder", name=self._free(f"{OWN}/{name}"))
        self._nodes[node.name] = node
        node.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        return f"{node.name}:0"

    def become(self, name: str, op: str, inputs: list[str], **attributes: Any) -> None:
        """Turns a node into another operation, whose result its readers read."""
        node = self._nodes[name]
        node.op = op
        node.input[:] = inputs
        node.attr.clear()
        self._set(node, attributes)

    def reshape(self, value: str, shape: tuple[int, ...], dtype: Any) -> str:
        import numpy as np

        return self.add("Reshape", [value, self.constant(np.array(shape, np.int32))], T=dtype, Tshape=np.int32)

    def _free(self, name: str) -> str:
        free, i = name, 0
        while free in self._names:
            i += 1
            free = f"{name}_{i}"
        self._names.add(free)
        return free

    @staticmethod
    def _set(node: Any, attributes: dict[str, Any]) -> None:
        import tensorflow as tf

        for name, value in attributes.items():
            if name == "N":
                node.attr[name].i = value
            else:
                node.attr[name].type = tf.as_dtype(value).as_datatype_enum
