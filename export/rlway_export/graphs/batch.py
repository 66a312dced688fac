"""A graph that was saved for a fixed number of rows, made to take any number.

In:      a graph whose inputs have a fixed first dimension, such as 1 (`PolicySaver(policy, batch_size=1)`).
Out:     graphs that take any number, the likeliest first. Whether one acts as the original does is for the caller to
         try: a 1 among a shape's sizes may stand for the batch or for something else.

With a fixed batch TensorFlow computes many shapes when it traces the function. They are constants of the graph then,
and one of their sizes is the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.draws import DRAWS
from rlway_export.graphs.editing import GraphEditor
from rlway_export.graphs.frozen import FrozenGraph, Runs, base, whole

MOST_TRIED = 40
SAMPLES = "/sample"  # in the names of what TensorFlow Probability samples with
FOLLOWS = -1  # a size that follows from the others: where it comes first, it is the batch already
SHAPED_BY = {"Reshape": 1, "Fill": 0, "BroadcastTo": 1, "Tile": 1}  # operations, and which input is the shape

BEFORE = -1  # the place before the first size: numbers that were drawn for all rows become numbers of each row


class FixedShape(NamedTuple):
    """A shape that depends on no input."""

    node: str  # that reads it
    place: int  # among the node's inputs
    sizes: AnyArray
    batch: list[int]  # where the size of the batch may stand, or go


def free_graphs(graph: FrozenGraph, rows: int, feed: Arrays) -> Iterator[FrozenGraph]:
    """`feed` has values for the graph's inputs by tensor, of the fixed number of rows."""
    runs = Runs(graph)
    try:
        relaxed = _with_all_rows(_relaxed(graph), runs, feed)
        _let_select_broadcast(relaxed, runs, feed)
        shapes = _constant_shapes(graph, rows, feed, runs)
    finally:
        runs.close()
    yield relaxed
    likely = [_places(shapes, *ends) for ends in ((0, -1), (0, 0), (0, 1), (-1, -1))]
    tried: set[tuple[int, ...]] = set()
    for chosen in [*likely, *islice(product(*(shape.batch for shape in shapes)), MOST_TRIED)]:
        if shapes and tuple(chosen) not in tried:
            tried.add(tuple(chosen))
            yield _reshaped(relaxed, shapes, list(chosen))


def _places(shapes: list[FixedShape], plain: int, sampled: int) -> list[int]:
    """One place for each shape: which of those it may have, by whether a distribution samples there.

    TensorFlow Probability puts the number of samples, and the sizes of an event, before the batch.
    """
    ends = [sampled if SAMPLES in shape.node else plain for shape in shapes]
    return [shape.batch[min(end, len(shape.batch) - 1)] for shape, end in zip(shapes, ends, strict=True)]


def _relaxed(graph: FrozenGraph) -> FrozenGraph:
    """The same nodes, with inputs of any number of rows. Sizes that were noted down for values are forgotten."""
    relaxed = graph.copy()
    inputs, functions = set(map(base, graph.inputs)), relaxed.graph.library.function
    for attributes in [found for function in functions for found in function.arg_attr.values()]:
        attributes.attr.pop("_output_shapes", None)
    for node in [*relaxed.graph.node, *(node for function in functions for node in function.node_def)]:
        node.attr.pop("_output_shapes", None)
        for shape in node.attr["output_shapes"].list.shape if "output_shapes" in node.attr else []:
            for size in shape.dim:
                size.size = -1
    _rename_functions(relaxed.graph)
    for node in relaxed.graph.node:
        if node.name in inputs and node.attr["shape"].shape.dim:
            node.attr["shape"].shape.dim[0].size = -1
    return relaxed


def _rename_functions(graph: Any) -> None:
    """Gives the functions other names: TensorFlow takes two of one name only if they are equal."""
    functions = graph.library.function
    names = {function.signature.name: f"{function.signature.name}_free" for function in functions}
    for node in [*graph.node, *(node for function in functions for node in function.node_def)]:
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func):
                if called.name in names:
                    called.name = names[called.name]
    for function in functions:
        function.signature.name = names[function.signature.name]


def _let_select_broadcast(graph: FrozenGraph, runs: Runs, feed: Arrays) -> None:
    """`Select` takes whole rows and broadcasts nothing, so that zeros [1, n] would be too few; `SelectV2` does."""
    editor = GraphEditor(graph.graph)
    for node in [node for node in graph.graph.node if node.op == "Select"]:
        condition, rows = runs.run([whole(name) for name in node.input[:2]], feed)
        kind = node.attr["T"].type
        if condition.ndim == 1 < rows.ndim:
            node.input[0] = editor.reshape(node.input[0], (-1, *(1,) * (rows.ndim - 1)), np.bool_)
        editor.become(node.name, "SelectV2", list(node.input), T=kind)


def _constant_shapes(graph: FrozenGraph, rows: int, feed: Arrays, runs: Runs) -> list[FixedShape]:
    """Those in which the number of rows is, or for which numbers of all rows are drawn."""
    inputs, found, nodes = set(map(base, graph.inputs)), [], graph.nodes
    for node in graph.graph.node:
        place = 0 if DRAWS.match(node.op) and "Multinomial" not in node.op else SHAPED_BY.get(node.op)
        if place is None or graph.ancestors([node.input[place]], values=True) & inputs:
            continue
        (value,) = runs.run([whole(node.input[place])], feed)
        sizes = value.tolist() if value.ndim == 1 else []
        if rows in sizes and sizes[0] != FOLLOWS:
            batch = [place for place, size in enumerate(sizes) if size == rows]
            found.append(FixedShape(node.name, place, value, batch))
        elif node.op == "Reshape" and sizes and FOLLOWS not in sizes and rows not in sizes:
            before = graph.ancestors([node.input[0]])
            if not before & inputs and any(DRAWS.match(nodes[name].op) for name in before):
                found.append(FixedShape(node.name, place, value, [BEFORE]))
    return found


def _reshaped(graph: FrozenGraph, shapes: list[FixedShape], places: list[int]) -> FrozenGraph:
    """The graph with the batch's size at these places of its shapes."""
    changed = graph.copy()
    editor = GraphEditor(changed.graph)
    for shape, at in zip(shapes, places, strict=True):
        editor.node(shape.node).input[shape.place] = _shape(editor, graph, shape.sizes, at)
    return changed


def _with_all_rows(graph: FrozenGraph, runs: Runs, feed: Arrays) -> FrozenGraph:
    """The graph with a row for each of the batch in outputs that no input changes, such as a constant deviation."""
    inputs = set(map(base, graph.inputs))
    alone = [name for name in graph.outputs if not graph.ancestors([name], values=True) & inputs]
    if not alone:
        return graph
    editor, outputs = GraphEditor(graph.graph), {}
    for name, value in zip(alone, runs.run(alone, feed), strict=True):
        shape = _shape(editor, graph, np.array(value.shape, np.int32), 0)
        outputs[name] = editor.add("BroadcastTo", [name, shape], T=value.dtype.type, Tidx=np.int32)
    return graph._replace(outputs=[outputs.get(name, name) for name in graph.outputs])


def _shape(editor: GraphEditor, graph: FrozenGraph, value: AnyArray, at: int) -> str:
    """The shape with the batch's size at this place, or before it."""
    first = editor.node(base(graph.inputs[0]))
    kind = value.dtype.type
    sizes = editor.add("Shape", [f"{first.name}:0"], T=_type(first), out_type=kind)
    zero, one = (editor.constant(np.array([n], np.int32)) for n in (0, 1))
    batch = editor.add("Slice", [sizes, zero, one], T=kind, Index=np.int32)
    before, after = (value[:0], value) if at == BEFORE else (value[:at], value[at + 1 :])
    parts = [*([editor.constant(before)] if len(before) else []), batch]
    parts += [editor.constant(after)] if len(after) else []
    if len(parts) == 1:
        return batch
    axis = editor.constant(np.array(0, np.int32))
    return editor.add("ConcatV2", [*parts, axis], N=len(parts), T=kind, Tidx=np.int32)


def _type(node: object) -> object:
    import tensorflow as tf

    return tf.as_dtype(node.attr["dtype"].type)  # type: ignore[attr-defined]
