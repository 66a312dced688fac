"""The random operators of an ONNX graph, made inputs: what they would draw is given to the policy as `noise`.

In:      a model, the outputs that are wanted of it.
Out:     the model with an input of standard numbers in place of each operator that draws; which numbers each takes.
Refuses: operators that draw uniformly, and draws within a branch or a loop (ExportRefused names them).

    RandomNormal, RandomNormalLike    mean + scale · noise, of standard normal numbers
    Multinomial                       the index of the largest logits + noise, of standard Gumbel numbers
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused

NORMAL = ("RandomNormal", "RandomNormalLike")
UNIFORM = ("Bernoulli", "RandomUniform", "RandomUniformLike")
REMEDY = "export the policy's mean, its scores, or its action without drawing"


class GraphDraw(NamedTuple):
    """One draw of the graph: an input of the same name takes its numbers."""

    name: str
    distribution: Literal["normal", "gumbel"]
    like: str | None  # the value whose shape it has
    shape: tuple[int, ...]  # where that is a constant


def draws_as_inputs(model: Any, outputs: list[str], where: str) -> tuple[Any, list[GraphDraw]]:
    """A copy that computes only the wanted outputs; `where` is the file in messages."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    keep_outputs(copy, outputs)
    draws: list[GraphDraw] = []
    nodes: list[Any] = []
    for node in copy.graph.node:
        _refuse(node, where)
        if node.op_type in (*NORMAL, "Multinomial"):
            draw = _draw(node, len(draws), where)
            draws.append(draw)
            nodes += _replacement(node, draw)
        else:
            nodes.append(node)
    if draws:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del copy.graph.node[:]
        copy.graph.node.extend(kept)
        for draw in draws:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(draw.name, onnx.TensorProto.FLOAT, None))
    return copy, draws


def keep_outputs(model: Any, outputs: list[str]) -> None:
    """Removes the other outputs, and the nodes, constants and inputs that only these need."""
    graph = model.graph
    wanted = {value.name: value for value in graph.output}
    del graph.output[:]
    graph.output.extend(wanted[name] for name in outputs)
    read = set(outputs)
    for node in reversed(list(graph.node)):
        if read.intersection(node.output):
            read.update(names_read(node))
        else:
            graph.node.remove(node)
    for unread in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(unread)
    for unread in [value for value in graph.input if value.name not in read]:
        graph.input.remove(unread)


def names_read(node: Any) -> set[str]:
    """The values that a node reads, those that its branches read included."""
    read = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            read.update(value.name for value in graph.output)
            for inner in graph.node:
                read |= names_read(inner)
    return read


def _refuse(node: Any, where: str) -> None:
    drawing = next((one for one in (node, *_within(node)) if one.op_type in (*NORMAL, *UNIFORM, "Multinomial")), None)
    if drawing is None:
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            raise ExportRefused(
                f"{where}: its Dropout ({short_name(node.name)}) may still draw; export it for inference."
            )
        return
    if drawing is not node:
        raise ExportRefused(
            f"{where}: draws within a branch or a loop ({drawing.op_type} in {short_name(node.name)}), where no input "
            f"can take its place; {REMEDY}."
        )
    if node.op_type in UNIFORM:
        raise ExportRefused(
            f"{where}: draws its actions uniformly ({node.op_type}, {short_name(node.name)}), and only normal and "
            f"categorical draws can become an input; {REMEDY}."
        )


def _within(node: Any) -> list[Any]:
    """The nodes of a node's branches, at any depth."""
    found = [inner for one in node.attribute for graph in (one.g, *one.graphs) for inner in graph.node]
    return found + [deeper for inner in found for deeper in _within(inner)]


def _draw(node: Any, number: int, where: str) -> GraphDraw:
    name = f"rlway_draw_{number}"
    if node.op_type == "RandomNormal":
        return GraphDraw(name, "normal", None, tuple(_attributes(node)["shape"]))
    if node.op_type == "Multinomial" and _attributes(node).get("sample_size", 1) != 1:
        raise ExportRefused(f"{where}: draws several samples for one observation ({short_name(node.name)}); {REMEDY}.")
    return GraphDraw(name, "gumbel" if node.op_type == "Multinomial" else "normal", node.input[0], ())


def _replacement(node: Any, draw: GraphDraw) -> list[Any]:
    """Nodes that make of the input what the operator would have drawn."""
    import onnx

    make, attributes, result = onnx.helper.make_node, _attributes(node), node.output[0]
    kinds = onnx.TensorProto
    if draw.distribution == "gumbel":
        scores, best = f"{draw.name}_scores", f"{draw.name}_best"
        wide = f"{draw.name}_logits"
        return [
            make("Cast", [node.input[0]], [wide], to=kinds.FLOAT),
            make("Add", [wide, draw.name], [scores]),
            make("ArgMax", [scores], [best], axis=1, keepdims=1),
            make("Cast", [best], [result], to=attributes.get("dtype", kinds.INT32)),
        ]
    kind = attributes.get("dtype", kinds.FLOAT)
    factors = {"scale": attributes.get("scale", 1.0), "mean": attributes.get("mean", 0.0)}
    parts = {name: f"{draw.name}_{name}" for name in factors}
    constants = [
        make("Constant", [], [parts[name]], value=onnx.numpy_helper.from_array(np.array(value, np.float32)))
        for name, value in factors.items()
    ]
    scaled, shifted = f"{draw.name}_scaled", f"{draw.name}_shifted"
    return [
        *constants,
        make("Mul", [draw.name, parts["scale"]], [scaled]),
        make("Add", [scaled, parts["mean"]], [shifted]),
        make("Cast", [shifted], [result], to=kind),
    ]


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
