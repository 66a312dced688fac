"""Nodes of ONNX under construction, with names of their own.

In:      operators and values.
Out:     nodes and constants, to be put into a graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.contract.specs import AnyArray


class Builder:
    """What takes the place of one node; `name` begins all names."""

    def __init__(
        self, name: str, opset: int, constants: dict[str, AnyArray], shapes: dict[str, tuple[int, ...]]
    ) -> None:
        """`constants` and `shapes` are those of the graph: a shape has 0 for a dimension that is not known."""
        self.name, self.opset, self.constants, self.shapes = name, opset, constants, shapes
        self.nodes: list[Any] = []
        self.made: list[Any] = []

    def add(self, kind: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """One node, and the name of its result. Inputs that are arrays or numbers become constants."""
        import onnx

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        result = output or f"{self.name}/{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, names, [result], name=f"{result}_node", **attributes))
        return result

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """Equal parts of a value."""
        import onnx

        names = [f"{self.name}/part_{len(self.nodes)}_{i}" for i in range(parts)]
        more = {"num_outputs": parts} if self.opset >= 18 else {}
        self.nodes.append(onnx.helper.make_node("Split", [value], names, name=f"{names[0]}_node", axis=axis, **more))
        return names

    def reduce(self, kind: str, value: str, axes: list[int], keepdims: int = 1, output: str | None = None) -> str:
        """A reduction, whose axes are an attribute in older opsets."""
        if kind == "ReduceSum" or self.opset >= 18:
            return self.add(kind, value, np.array(axes, np.int64), output=output, keepdims=keepdims)
        return self.add(kind, value, output=output, axes=axes, keepdims=keepdims)

    def constant(self, value: Any) -> str:
        """The name of a constant; numbers are float32."""
        import onnx

        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        name = f"{self.name}/constant_{len(self.made)}"
        self.made.append(onnx.numpy_helper.from_array(array, name))
        self.constants[name] = array
        return name

    def identity(self, value: str, output: str) -> None:
        """The value under the name that the graph knows."""
        self.add("Identity", value, output=output)
