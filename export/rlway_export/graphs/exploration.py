"""The ε-greedy choice in a policy's graph: a uniform action with probability ε, else the greedy one.

In:      a graph.
Out:     where it chooses between the two, and ε; the graph with the greedy branch alone.

    Select(u ≥ ε, greedy, uniform)       u ~ RandomUniform

The branch that draws is the one that explores. If both or neither draw, the choice is none of exploration.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_export.graphs.draws import DRAWS, UNIFORM
from rlway_export.graphs.editing import GraphEditor
from rlway_export.graphs.frozen import FrozenGraph, Runs, base

SELECTS = ("Select", "SelectV2")
COMPARES = ("Greater", "GreaterEqual", "Less", "LessEqual")


class Exploration(NamedTuple):
    """One choice between the greedy and a uniform action."""

    select: str
    greedy: str  # the value of the greedy branch
    draw: str  # the node of u
    greedy_at: float  # the value of u, 0 or 1, with which the greedy branch is taken
    epsilon: float | None  # the probability to explore; None where it is not a constant


def find_exploration(graph: FrozenGraph, feed: Any) -> list[Exploration]:
    """`feed(rows)` gives values for the graph's inputs by tensor."""
    nodes, found = graph.nodes, []
    for node in graph.graph.node:
        if node.op not in SELECTS:
            continue
        deciding = [name for name in graph.ancestors([node.input[0]]) if UNIFORM.match(nodes[name].op)]
        draws = [any(DRAWS.match(nodes[name].op) for name in graph.ancestors([side])) for side in node.input[1:3]]
        if len(deciding) == 1 and draws[0] != draws[1]:
            found.append(_exploration(graph, node, deciding[0], greedy_first=draws[1], feed=feed))
    return found


def without_exploration(graph: FrozenGraph, explorations: list[Exploration]) -> FrozenGraph:
    """The graph with the greedy branches alone."""
    changed = graph.copy()
    editor = GraphEditor(changed.graph)
    for found in explorations:
        kind = editor.node(found.select).attr["T"].type
        editor.become(found.select, "Identity", [found.greedy], T=kind)
    return changed.pruned()


def _exploration(graph: FrozenGraph, node: Any, draw: str, greedy_first: bool, feed: Any) -> Exploration:
    runs = Runs(graph)
    try:
        rows = feed(1)
        uniform = runs.graph.get_tensor_by_name(f"{draw}:0")
        ends = []
        for end in (0.0, 1.0):
            value = runs.run([uniform.name], rows)[0]
            (cond,) = runs.run([_tensor(node.input[0])], rows | {uniform.name: np.full_like(value, end)})
            ends.append(bool(np.all(cond)))
    finally:
        runs.close()
    greedy_at = 1.0 if ends[1] == greedy_first else 0.0
    constant = _threshold(graph, node.input[0])
    epsilon = None if constant is None else constant if greedy_at == 1.0 else 1.0 - constant
    return Exploration(node.name, node.input[1 if greedy_first else 2], draw, greedy_at, epsilon)


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _threshold(graph: FrozenGraph, name: str) -> float | None:
    """The constant with which u is compared."""
    import tensorflow as tf

    nodes = graph.nodes
    compares = [nodes[one] for one in graph.ancestors([name]) if nodes[one].op in COMPARES]
    if len(compares) != 1:
        return None
    for side in compares[0].input:
        node = nodes[base(side)]
        while node.op in ("Identity", "ReadVariableOp", "Cast"):
            node = nodes[base(node.input[0])]
        if node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
            return round(float(value), 6) if value.size == 1 else None
    return None
