"""A policy's graph without the branches of which one can never run.

In:      a graph.
Out:     the graph in which every condition that depends on no input, such as on a variable, has been decided.
"""

from __future__ import annotations

from typing import Any

from rlway_export.graphs.frozen import FrozenGraph, Runs, base, whole
from rlway_export.graphs.loops import insert

BRANCHES = ("If", "StatelessIf")


def decide(graph: FrozenGraph) -> FrozenGraph:
    """`graph` has its weights as constants; its branches draw nothing."""
    while (node := _decidable(graph)) is not None:
        runs = Runs(graph)
        try:
            (condition,) = runs.run([whole(node.input[0])], {})
        finally:
            runs.close()
        graph = _with_branch(graph, node, "then_branch" if condition.any() else "else_branch")
    return graph


def _decidable(graph: FrozenGraph) -> Any | None:
    inputs = set(map(base, graph.inputs))
    branches = (node for node in graph.graph.node if node.op in BRANCHES)
    return next((node for node in branches if not graph.ancestors([node.input[0]]) & inputs), None)


def _with_branch(graph: FrozenGraph, node: Any, branch: str) -> FrozenGraph:
    """The graph with the operations of one branch in the place of both."""
    changed = graph.copy().graph
    function = next(f for f in changed.library.function if f.signature.name == node.attr[branch].func.name)
    given = [name for name in node.input[1:] if not name.startswith("^")]
    values = insert(changed, function, given, f"{node.name}/{branch}/")
    names = {f"{node.name}:{i}": value for i, value in enumerate(values)}
    changed.node.remove(next(one for one in changed.node if one.name == node.name))
    for reader in changed.node:
        reader.input[:] = [names.get(whole(name), name) for name in reader.input]
    return FrozenGraph(changed, graph.inputs, [names.get(whole(name), name) for name in graph.outputs]).pruned()
