"""Gumbel numbers that a graph computes from uniform ones: −log(−log u), or log(−log u), which is subtracted.

In:      a graph, a draw of uniform numbers.
Out:     the node that has the Gumbel numbers, or their negatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_export.graphs.frozen import FrozenGraph, Runs

SCALING = ("Mul", "Add", "AddV2", "Sub", "Maximum", "Minimum", "Identity", "Cast")  # keep u from 0 and 1
TRIED = (0.2, 0.5, 0.9)
CLOSE = 1e-3  # programs add small numbers before they take a logarithm
LONGEST = 16


class Gumbel(NamedTuple):
    """A node, and whether it has the negatives of Gumbel numbers."""

    node: str
    negated: bool


def find_gumbel(graph: FrozenGraph, uniform: Any, runs: Runs, given: Arrays) -> Gumbel | None:
    """What the uniform numbers become, if nothing but Gumbel numbers; `given` are values of the graph's inputs."""
    last = _second_logarithm(graph, uniform)
    if last is None:
        return None
    tensor = runs.graph.get_tensor_by_name(f"{uniform.name}:0")
    (drawn,) = runs.run([tensor.name], given)
    for u in TRIED:
        (value,) = runs.run([f"{last}:0"], given | {tensor.name: np.full_like(drawn, u)})
        if not np.allclose(value, np.log(-np.log(u)), atol=CLOSE) and not np.allclose(
            value, np.log(-np.log(1 - u)), atol=CLOSE
        ):
            return None
    after = graph.readers()[last]
    if len(after) == 1 and after[0].op == "Neg":
        return Gumbel(after[0].name, negated=False)
    return Gumbel(last, negated=True)


def _second_logarithm(graph: FrozenGraph, uniform: Any) -> str | None:
    """The second logarithm on the only way from the draw; None if the way leads elsewhere, or forks before."""
    readers, node, logarithms = graph.readers(), uniform, 0
    for _ in range(LONGEST):
        after = readers[node.name]
        if len(after) != 1:
            return None
        (node,) = after
        logarithms += node.op == "Log"
        if logarithms == 2:
            return str(node.name)
        if node.op not in (*SCALING, "Log", "Neg"):
            return None
    return None
