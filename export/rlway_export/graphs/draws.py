"""The random draws of a policy's graph: where they are, of what kind, and how their numbers lie in the batch.

In:      a graph without functions.
Out:     `Draw`s in the order in which the graph makes them.
Refuses: a draw of another distribution, one whose size depends on more than the batch, one within a loop (ExportRefused
         names the operation and the layer).

    RandomStandardNormal, StatelessRandomNormalV2, StatefulStandardNormalV2, …    normal numbers
    Multinomial, StatelessMultinomial                                             one of several choices
    −log(−log(RandomUniform))                                                     Gumbel numbers
    Select(RandomUniform < ε, uniform action, greedy action)                      exploration, which is left out

TensorFlow Probability makes a stateless draw's seed by a further draw, which goes with it.
"""

from __future__ import annotations

import re
from typing import Any

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays
from rlway_export.graphs.draw_site import GREEDY_ONLY, TRIED_ROWS, DrawSite, drawn_zeros, place, place_only_row
from rlway_export.graphs.frozen import FrozenGraph, Runs, base, whole
from rlway_export.graphs.gumbel import Gumbel, find_gumbel
from rlway_export.graphs.safety import called, reachable

# RandomStandardNormal, StatelessRandomUniformV2, StatelessMultinomial, ParameterizedTruncatedNormal, …
DRAWS = re.compile(
    r"(Stateless)?(Parameterized)?(Random|Multinomial|TruncatedNormal)|Stateful(StandardNormal|Uniform|Truncated)|"
    r"StatelessParameterized|StatelessShuffle|RngReadAndSkip"
)
KEYS = re.compile(r"StatelessRandomGet|RngReadAndSkip")  # make keys of random numbers, not numbers
NORMAL = re.compile(r"RandomStandardNormal|StatelessRandomNormal|StatefulStandardNormal")
CHOICE = re.compile(r"(Stateless)?Multinomial$")
UNIFORM = re.compile(r"(Stateless)?RandomUniform(V2)?$")


def find_draws(graph: FrozenGraph, feed: Any, name: str, fixed: int | None = None) -> list[DrawSite]:
    """`feed(rows)` gives values for the graph's inputs by tensor; `fixed` is its number of rows, None for any.

    `name` is the SavedModel's name in messages.
    """
    nodes = [node for node in graph.in_order() if DRAWS.match(node.op) and not KEYS.match(node.op)]
    outputs = graph.ancestors(graph.outputs)
    nodes = _without_seeds(graph, [node for node in nodes if node.name in outputs])
    if not nodes:
        return []
    sites: list[DrawSite] = []
    runs = Runs(graph)
    try:
        for node in nodes:
            sites.append(_site(graph, node, runs, feed, sites, name, fixed))
    finally:
        runs.close()
    return sites


def refuse_draws_in_functions(graph: FrozenGraph, name: str) -> None:
    """Refuses a draw in a loop or a branch: how often it is made may depend on the observation."""
    functions = {function.signature.name: function for function in graph.graph.library.function}
    draws = [node for node in reachable(functions, called(graph.graph.node)) if DRAWS.match(node.op)]
    for node in sorted(draws, key=lambda node: KEYS.match(node.op) is not None)[:1]:
        raise ExportRefused(
            f"{name}: draws within a loop or branch ({node.op} in {short_name(node.name)}), which no input can "
            f"replace; {GREEDY_ONLY}."
        )


def _without_seeds(graph: FrozenGraph, nodes: list[Any]) -> list[Any]:
    """The draws whose numbers the policy uses itself, not only as the seed of another draw."""
    drawn = {node.name for node in nodes}
    readers = graph.readers()
    kept = []
    for node in nodes:
        unseen, reached, seen = [node.name], False, set[str]()
        while unseen and not reached:
            for reader in readers[unseen.pop()]:
                if reader.name in drawn and _only_seeds(graph, reader, node.name):
                    continue
                if reader.name not in seen:
                    seen.add(reader.name)
                    unseen.append(reader.name)
            reached = bool(seen & {base(output) for output in graph.outputs})
        reached = reached or node.name in {base(output) for output in graph.outputs}
        if reached:
            kept.append(node)
    return kept


def _only_seeds(graph: FrozenGraph, draw: Any, source: str) -> bool:
    """Whether the draw reads `source` in its seed alone: a stateless draw reads shape or logits first."""
    values = [name for name in draw.input[:1] if not name.startswith("^")]
    return source not in graph.ancestors(values)


def _site(
    graph: FrozenGraph, node: Any, runs: Runs, feed: Any, before: list[DrawSite], name: str, fixed: int | None
) -> DrawSite:
    """What one draw takes, found by running the graph over two batch sizes, or over its fixed one."""
    where = f"{node.op} in {short_name(node.name)}"
    sizes = [fixed] if fixed else [*TRIED_ROWS]
    given = [_with_zeros(runs, before, rows, feed(rows)) for rows in sizes]
    found, logits = Gumbel(node.name, negated=False), node.input[0] if CHOICE.match(node.op) else None
    if UNIFORM.match(node.op) and (gumbel := find_gumbel(graph, node, runs, given[0])) is not None:
        found = gumbel
    elif not NORMAL.match(node.op) and logits is None:
        raise ExportRefused(
            f"{name}: draws by {where}; expected normal numbers, a choice by logits, or Gumbel numbers; {GREEDY_ONLY}."
        )
    if logits is not None and int(runs.run([whole(node.input[1])], {})[0]) != 1:
        raise ExportRefused(f"{name}: draws several choices at once ({where}), expected one; {GREEDY_ONLY}.")
    shapes = [runs.run([whole(logits or found.node)], values)[0].shape for values in given]
    site = (
        place_only_row(found.node, logits, shapes[0])
        if fixed == 1
        else place(found.node, logits, shapes, f"{name}: {where}")
    )
    return site._replace(distribution="normal" if NORMAL.match(node.op) else "gumbel", negated=found.negated)


def _with_zeros(runs: Runs, sites: list[DrawSite], rows: int, given: Arrays) -> Arrays:
    return given | drawn_zeros(runs, sites, rows, given)
