"""A policy's graph without loops: the body of each loop is repeated as often as it runs.

In:      a graph.
Out:     the graph with every loop of a fixed number of rounds unrolled; None if there is none.

A Keras LSTM, or any other `tf.keras.layers.RNN`, is a loop over a sequence that it keeps in lists of tensors. In a
policy the sequence has length 1, because the policy acts on one observation at a time. ONNX, TFLite and C have no such
lists, and need no loop.
"""

from __future__ import annotations

from typing import Any

from rlway_export.graphs.frozen import LOOPS, FrozenGraph, base, whole

TRIED = (1, 3)  # batch sizes: the number of rounds must not depend on them
MOST_ROUNDS = 128


def unroll(graph: FrozenGraph) -> FrozenGraph | None:
    """`graph` has its functions inlined and its loops left as they are."""
    found = unrolled = graph
    tried: set[str] = set()
    while (loop := _find_loop(unrolled, tried)) is not None:
        tried.add(loop.name)
        rounds = _rounds(unrolled, loop)
        without = None if rounds is None else _without(unrolled, loop, rounds)
        unrolled = without or unrolled
    return None if unrolled is found else _without_lists(unrolled)


def _find_loop(graph: FrozenGraph, tried: set[str]) -> Any | None:
    return next((node for node in graph.graph.node if node.op in LOOPS and node.name not in tried), None)


def _rounds(graph: FrozenGraph, loop: Any) -> int | None:
    """How often the loop runs; None where that depends on the batch, or is more than `MOST_ROUNDS`."""
    import tensorflow as tf

    with tf.Graph().as_default():
        inputs = tf.graph_util.import_graph_def(graph.graph, return_elements=graph.inputs, name="")
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    # The first output of a TensorFlow loop is the number of its rounds.
    counter = graph._replace(outputs=[f"{loop.name}:0"])
    count = tf.function(lambda *given: counter.call(list(given)), input_signature=signature, autograph=False)
    found = set()
    for rows in TRIED:
        try:
            (rounds,) = count(*(tf.zeros([spec.shape[0] or rows, *spec.shape[1:]], spec.dtype) for spec in signature))
        except tf.errors.OpError:  # its inputs are computed from zeros, which may be no valid observation
            return None
        found.add(int(rounds))
    return found.pop() if len(found) == 1 and max(found) <= MOST_ROUNDS else None


def _without(unrolled: FrozenGraph, loop: Any, rounds: int) -> FrozenGraph | None:
    """The graph with `rounds` bodies in the loop's place; None where the observation may change that number."""
    graph = unrolled.copy().graph
    functions = {function.signature.name: function for function in graph.library.function}
    body, condition = (functions[loop.attr[part].func.name] for part in ("body", "cond"))
    values, conditions = list(loop.input), []
    for i in range(rounds + 1):
        conditions += insert(graph, condition, values, f"{loop.name}/condition_{i}/")
        if i < rounds:
            values = insert(graph, body, values, f"{loop.name}/round_{i}/")
    if _depend(graph, conditions, unrolled.inputs):
        return None
    graph.node.remove(loop)
    names = {f"{loop.name}:{i}": value for i, value in enumerate(values)}
    for node in graph.node:
        inputs = [names.get(whole(name), name) for name in node.input]
        node.input[:] = [name for name in inputs if name != f"^{loop.name}"]
    return FrozenGraph(graph, unrolled.inputs, [names.get(name, name) for name in unrolled.outputs])


def _without_lists(unrolled: FrozenGraph) -> FrozenGraph:
    """The graph with a tensor in place of each list of tensors, and without unneeded nodes."""
    import tensorflow as tf

    graph = unrolled.copy().graph
    makers = {node.name: node for node in graph.node}
    axis = graph.node.add(name="axis_of_the_lists", op="Const")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, tf.int32))
    with tf.Graph().as_default() as known:
        tf.graph_util.import_graph_def(unrolled.graph, name="")
    for node in list(graph.node):
        if node.op not in ("TensorListGetItem", "TensorListStack"):
            continue
        kind = node.attr["element_dtype"].type
        maker = _maker(node.input[0], makers)
        if node.op == "TensorListGetItem" and maker.op == "TensorListFromTensor":
            sequence = known.get_tensor_by_name(whole(maker.input[0]))
            if sequence.shape[0] == 1:
                _become(node, "Squeeze", [sequence.name], T=kind)
                node.attr["squeeze_dims"].list.i.append(0)
            else:
                _become(node, "GatherV2", [sequence.name, node.input[1], axis.name], Tparams=kind)
                node.attr["Tindices"].type = node.attr["Taxis"].type = tf.int32.as_datatype_enum
        elif node.op == "TensorListStack" and (items := _items(maker, makers)):
            _become(node, "Pack", items, T=kind)
            node.attr["N"].i = len(items)
    kept = [base(name) for name in (*unrolled.inputs, *unrolled.outputs)]
    return unrolled._replace(graph=tf.compat.v1.graph_util.extract_sub_graph(graph, kept))


def insert(graph: Any, function: Any, given: list[str], prefix: str) -> list[str]:
    """Adds a function's nodes, which read the values `given`, and returns the names of its results."""
    import tensorflow as tf
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    with tf.Graph().as_default():
        inner, flat = function_def_to_graph_def(function)
    names: dict[str, str] = dict(zip((arg.name for arg in function.signature.input_arg), given, strict=True))

    def outer(name: str) -> str:
        base, colon, place = name.partition(":")
        return names.get(base, f"{prefix}{base}{colon}{place}")

    for node in inner.node:
        if node.name not in names:
            inputs = [outer(name) for name in node.input if not name.startswith("^")]
            added = graph.node.add()
            added.CopyFrom(node)
            added.name = prefix + node.name
            added.input[:] = inputs
    return [outer(flat[function.ret[result.name]]) for result in function.signature.output_arg]


def _depend(graph: Any, names: list[str], inputs: list[str]) -> bool:
    """Whether any of these values depends on the inputs' values, not only on their shapes."""
    nodes = {node.name: node for node in graph.node}
    unseen, seen = [base(name) for name in names], set[str]()
    while unseen:
        node = nodes[unseen.pop()]
        if node.name not in seen and node.op not in ("Rank", "Shape", "ShapeN", "Size"):
            seen.add(node.name)
            unseen += [base(name) for name in node.input if not name.startswith("^")]
    return not seen.isdisjoint(map(base, inputs))


def _maker(name: str, makers: dict[str, Any]) -> Any:
    """The node that a value comes from."""
    node = makers[base(name)]
    while node.op == "Identity":
        node = makers[base(node.input[0])]
    return node


def _items(node: Any, makers: dict[str, Any]) -> list[str]:
    """The items that were put into a node's list, in order."""
    items: list[str] = []
    while node.op == "TensorListSetItem":
        items.insert(0, node.input[2])
        node = _maker(node.input[0], makers)
    return items


def _become(node: Any, kind: str, inputs: list[str], **types: int) -> None:
    """Turns a node into another operation, with these types."""
    node.op = kind
    node.input[:] = inputs
    node.attr.clear()
    for name, dtype in types.items():
        node.attr[name].type = dtype
