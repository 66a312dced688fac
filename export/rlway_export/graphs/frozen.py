"""A function of TensorFlow as one graph: its weights are constants, its inputs and outputs have names.

In:      a concrete function.
Out:     `FrozenGraph`, which can be called within another function, run, and changed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from rlway_client.common.quote import short_name
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.flat_function import flat_function
from rlway_export.graphs.generators import without_generators

SHAPES = ("Rank", "Shape", "ShapeN", "Size", "ZerosLike", "OnesLike")  # read a value's shape, not the value
LOOPS = ("StatelessWhile", "While")
CHANGES = re.compile(r"Assign(Add|Sub)?VariableOp|ResourceScatter|ResourceApply|Assign$")


class FrozenGraph(NamedTuple):
    """A graph, and what its inputs and outputs are called in it, `node:0`."""

    graph: Any  # a GraphDef
    inputs: list[str]
    outputs: list[str]
    function: Any = None  # the concrete function that acts as the graph does, where there is one

    @classmethod
    def of(cls, function: Any) -> FrozenGraph:
        """The concrete function's graph, with the functions that it calls inlined, but for loops and branches."""
        frozen = freeze(without_generators(function), keeps_branches=True)
        graph = frozen.graph.as_graph_def()
        found = cls(graph, *([tensor.name for tensor in side] for side in (frozen.inputs, frozen.outputs)))
        return found.pruned()._replace(function=function)

    def call(self, inputs: list[Any]) -> list[Any]:
        """The graph's outputs, within the function that is being traced."""
        import tensorflow as tf
        from tensorflow.python.eager.context import context

        # TensorFlow registers the bodies of loops and branches only where it has read them from a file itself.
        for function in self.graph.library.function:
            if not context().has_function(function.signature.name):
                context().add_function_def(function)
        given = dict(zip(self.inputs, inputs, strict=True))
        found: list[Any] = tf.graph_util.import_graph_def(self.graph, given, self.outputs, name="")
        return found

    def copy(self) -> FrozenGraph:
        """A copy that may be changed."""
        graph = type(self.graph)()
        graph.CopyFrom(self.graph)
        return FrozenGraph(graph, [*self.inputs], [*self.outputs])

    def pruned(self) -> FrozenGraph:
        """Without the nodes on which no output depends, and without control dependencies."""
        graph = type(self.graph)()
        graph.CopyFrom(self.graph)
        nodes, needed = {node.name: node for node in graph.node}, set[str]()
        unseen = [base(name) for name in (*self.outputs, *self.inputs)]
        while unseen:
            node = nodes[unseen.pop()]
            if node.name not in needed:
                needed.add(node.name)
                node.input[:] = [name for name in node.input if not name.startswith("^")]
                unseen += map(base, node.input)
        kept = [node for node in graph.node if node.name in needed]
        del graph.node[:]
        graph.node.extend(kept)
        return self._replace(graph=graph)

    def of_one_row(self) -> FrozenGraph:
        """The graph with inputs of one row."""
        changed, inputs = self.copy(), set(map(base, self.inputs))
        for node in changed.graph.node:
            if node.name in inputs and node.attr["shape"].shape.dim:
                node.attr["shape"].shape.dim[0].size = 1
        return changed

    @property
    def nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self.graph.node}

    def readers(self) -> dict[str, list[Any]]:
        """The nodes that read each node."""
        found = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                found[base(name)].append(node)
        return found

    def ancestors(self, names: list[str], values: bool = False) -> set[str]:
        """The nodes on which these depend; with `values`, only those whose values they depend on."""
        nodes = self.nodes
        unseen, seen = [base(name) for name in names], set[str]()
        while unseen:
            node = nodes[unseen.pop()]
            if node.name not in seen:
                seen.add(node.name)
                if not values or node.op not in SHAPES:
                    unseen += [base(name) for name in node.input if not name.startswith("^")]
        return seen

    def in_order(self) -> list[Any]:
        """The nodes, each after those that it reads."""
        nodes, done, ordered = self.nodes, set[str](), []
        stack = [node.name for node in reversed(self.graph.node)]
        while stack:
            node = nodes[stack[-1]]
            waiting = [base(name) for name in node.input if base(name) not in done]
            if node.name in done or not waiting:
                stack.pop()
                if node.name not in done:
                    done.add(node.name)
                    ordered.append(node)
            else:
                stack += waiting
        return ordered


class Runs:
    """A graph in a session: any of its values can be given, and any can be asked for."""

    def __init__(self, graph: FrozenGraph) -> None:
        import tensorflow as tf

        with tf.Graph().as_default() as opened:
            tf.graph_util.import_graph_def(graph.graph, name="")
        options = tf.compat.v1.ConfigProto()
        # Grappler moves a negation past a value that is given, and with it reads what the value was computed from.
        options.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.compat.v1.Session(graph=opened, config=options)
        self.graph = opened

    def run(self, names: list[str], given: dict[str, AnyArray]) -> list[AnyArray]:
        """The values of these tensors. Raises tf.errors.OpError."""
        found: list[AnyArray] = self._session.run(names, given)
        return found

    def close(self) -> None:
        self._session.close()


def has_loops(function: Any) -> bool:
    """Whether the function, or one that it calls, has loops."""
    graph = function.graph.as_graph_def()
    nodes = [graph.node, *(called.node_def for called in graph.library.function)]
    return any(node.op in LOOPS for part in nodes for node in part)


def freeze(function: Any, keeps_branches: bool = False) -> Any:
    """The concrete function with its variables as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # The converters know loops, but not the low-level operations that loops would be lowered to. Those of branches they
    # know; which of them run is said by control dependencies, without which a branch has to stay a function.
    loops = has_loops(function)
    lowers = not loops and not keeps_branches
    return convert_variables_to_constants_v2(function, lower_control_flow=lowers, aggressive_inlining=loops)


def base(name: str) -> str:
    """The node of a value: `while` for `while:2`."""
    return name.lstrip("^").partition(":")[0]


def whole(name: str) -> str:
    """A value's name with its output number, which a graph leaves out for the first output."""
    return name if ":" in name else f"{name}:0"


def changed_variable(function: Any) -> str | None:
    """A variable's operation that changes it while the function runs; None if there is none."""
    graph = function.graph.as_graph_def()
    called, unseen = {one.signature.name: one for one in graph.library.function}, [graph.node]
    seen = set[str]()
    while unseen:
        for node in unseen.pop():
            if CHANGES.match(node.op):
                return node.op if node.name == node.op else f"{node.op} in {short_name(node.name)}"
            for attribute in node.attr.values():
                name = attribute.func.name
                if name in called and name not in seen:
                    seen.add(name)
                    unseen.append(called[name].node_def)
    return None


def call_of(function: Any, values: list[AnyArray]) -> Callable[[], object]:
    """A call of a concrete function with these values in the order of its inputs, to be timed."""
    import tensorflow as tf

    tensors = [tf.constant(value) for value in values]
    described = [leaf for leaf in tf.nest.flatten(function.structured_outputs) if leaf is not None]
    if len(described) != len(function.outputs):  # some results have types that are not known here
        flat_call = flat_function(function)
        return lambda: [output.numpy() for output in flat_call(*tensors)]
    left = iter(tensors)
    signature = function.structured_input_signature
    flat = [next(left) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in tf.nest.flatten(signature)]
    args, kwargs = tf.nest.pack_sequence_as(signature, flat)
    return lambda: [output.numpy() for output in tf.nest.flatten(function(*args, **kwargs))]
