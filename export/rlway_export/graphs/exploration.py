"""The ε-greedy choice in a policy's graph: a uniform action with probability ε, else the greedy one.

In:      a graph.
Out:     where it chooses between the two, and ε; the graph with the greedy branch alone.

    Select(u ≥ ε, greedy, uniform)       u ~ RandomUniform

The branch that draws is the one that explores. If both or neither draw, the choice is none of exploration. What the
policy tells of its action may be chosen by the same u, without any draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_export.graphs.draws import DRAWS, UNIFORM
from rlway_export.graphs.editing import GraphEditor
from rlway_export.graphs.frozen import FrozenGraph, Runs, whole

SELECTS = ("Select", "SelectV2")
DIGITS = 6  # of ε, which float32 has
BELOW, ABOVE = -1.0, 2.0
COMPARES = ("Greater", "GreaterEqual", "Less", "LessEqual")


class Exploration(NamedTuple):
    """One choice between the greedy and a uniform action."""

    select: str
    greedy: str  # the value of the greedy branch
    draw: str  # the node of u
    greedy_at: float  # the value of u, below or above every ε, with which the greedy branch is taken
    epsilon: float | None  # the probability to explore; None where it depends on the observation


def find_exploration(graph: FrozenGraph, feed: Any) -> list[Exploration]:
    """`feed(rows)` gives values for the graph's inputs by tensor."""
    nodes = graph.nodes
    selects = [node for node in graph.graph.node if node.op in SELECTS]
    deciding = {
        node.name: [name for name in graph.ancestors([node.input[0]]) if UNIFORM.match(nodes[name].op)]
        for node in selects
    }
    decided = [node for node in selects if len(deciding[node.name]) == 1]
    if not decided:
        return []
    runs = Runs(graph)
    try:
        found = []
        for node in decided:
            draws = [any(DRAWS.match(nodes[name].op) for name in graph.ancestors([side])) for side in node.input[1:3]]
            if draws[0] != draws[1]:
                found.append(_exploration(graph, node, deciding[node.name][0], draws[1], runs, feed(1)))
        greedy_at = {one.draw: one for one in found}
        known = {one.select for one in found}
        for node in decided:
            told = greedy_at.get(deciding[node.name][0])
            if told is not None and node.name not in known:
                first = _taken(node, told.draw, told.greedy_at, runs, feed(1))
                found.append(told._replace(select=node.name, greedy=node.input[1 if first else 2]))
        return found
    finally:
        runs.close()


def without_exploration(graph: FrozenGraph, explorations: list[Exploration]) -> FrozenGraph:
    """The graph with the greedy branches alone."""
    changed = graph.copy()
    editor = GraphEditor(changed.graph)
    for found in explorations:
        kind = editor.node(found.select).attr["T"].type
        editor.become(found.select, "Identity", [found.greedy], T=kind)
    return changed.pruned()


def _exploration(graph: FrozenGraph, node: Any, draw: str, greedy_first: bool, runs: Runs, rows: Arrays) -> Exploration:
    greedy_at = ABOVE if _taken(node, draw, ABOVE, runs, rows) == greedy_first else BELOW
    threshold = _threshold(graph, node.input[0], draw, runs)
    epsilon = None if threshold is None else round(threshold if greedy_at == ABOVE else 1.0 - threshold, DIGITS)
    return Exploration(node.name, node.input[1 if greedy_first else 2], draw, greedy_at, epsilon)


def _taken(node: Any, draw: str, u: float, runs: Runs, rows: Arrays) -> bool:
    """Whether the first branch is taken with this u."""
    uniform = f"{draw}:0"
    (value,) = runs.run([uniform], rows)
    (condition,) = runs.run([whole(node.input[0])], rows | {uniform: np.full_like(value, u)})
    return bool(np.all(condition))


def _threshold(graph: FrozenGraph, condition: str, draw: str, runs: Runs) -> float | None:
    """What u is compared with, from 0 to 1; None where it depends on the observation, or on a draw."""
    nodes = graph.nodes
    compares = [nodes[one] for one in graph.ancestors([condition]) if nodes[one].op in COMPARES]
    if len(compares) != 1:
        return None
    sides = [side for side in compares[0].input if draw not in graph.ancestors([side])]
    varied = {name for name in nodes if nodes[name].op == "Placeholder" or DRAWS.match(nodes[name].op)}
    if len(sides) != 1 or graph.ancestors(sides) & varied:
        return None
    (value,) = runs.run([whole(sides[0])], {})
    return min(max(float(value), 0.0), 1.0) if value.size == 1 else None
