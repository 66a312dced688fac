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

import math
import re
from typing import Any, Literal, NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.frozen import FrozenGraph, Runs, base

# RandomStandardNormal, StatelessRandomUniformV2, StatelessMultinomial, ParameterizedTruncatedNormal, …
DRAWS = re.compile(
    r"(Stateless)?(Parameterized)?(Random|Multinomial|TruncatedNormal)|Stateful(StandardNormal|Uniform|Truncated)|"
    r"StatelessParameterized|StatelessShuffle|RngReadAndSkip"
)
KEYS = re.compile(r"StatelessRandomGet|RngReadAndSkip")  # make keys of random numbers, not numbers
NORMAL = re.compile(r"RandomStandardNormal|StatelessRandomNormal|StatefulStandardNormal")
CHOICE = re.compile(r"(Stateless)?Multinomial$")
UNIFORM = re.compile(r"(Stateless)?RandomUniform(V2)?$")
TRIED_ROWS = (3, 5)  # batch sizes, with which the sizes of the draws are found
GREEDY_ONLY = "save GreedyPolicy(policy) with PolicySaver, or export the trigger's greedy_policy"


class DrawSite(NamedTuple):
    """One draw of the graph."""

    node: str  # whose output is replaced: the draw's own, or that of the last logarithm of a Gumbel draw
    distribution: Literal["normal", "gumbel"]
    logits: str | None  # the tensor of which one entry is chosen; None for numbers
    shape: tuple[int, ...]  # of one row's numbers; [rows of logits, choices] for a choice
    axis: int = 0  # of the output, which is the batch
    only_row: bool = False  # whether the graph takes one row, and the output is that row's alone

    @property
    def size(self) -> int:
        """How many numbers it takes for one row."""
        return math.prod(self.shape)

    @property
    def layout(self) -> tuple[int, ...]:
        """The shape to which noise [B, size] is reshaped, before its first axis is moved; −1 stands for the batch.

        Rows that share an axis with the numbers of one row, [B · k, …], lie one after the other.
        """
        if self.only_row:
            return self.shape
        if self.logits is not None:
            return (-1, self.shape[-1])
        return (*(1,) * self.axis, -1, *self.shape[1:]) if self.joined else (-1, *self.shape)

    @property
    def joined(self) -> bool:
        """Whether several numbers of each row lie along the batch's axis, [B · k, …]."""
        return len(self.shape) > 0 and self.shape[0] != 1 and self.axis == 0

    @property
    def order(self) -> list[int] | None:
        """The order of axes that moves the batch to its place; None where it is there."""
        if self.only_row or self.logits is not None or self.axis == 0:
            return None
        rest = list(range(1, len(self.shape) + 1))
        return [*rest[: self.axis], 0, *rest[self.axis :]]

    def arrange(self, noise: AnyArray) -> AnyArray:  # [B, size] -> as the draw's output, or as its logits
        """The numbers of all rows as the graph has them."""
        shaped = noise.reshape(self.layout)
        return shaped if self.order is None else shaped.transpose(self.order)


def find_draws(graph: FrozenGraph, feed: Any, name: str, fixed: int | None = None) -> list[DrawSite]:
    """`feed(rows)` gives values for the graph's inputs by tensor; `fixed` is its number of rows, None for any.

    `name` is the SavedModel's name in messages.
    """
    refuse_draws_in_functions(graph, name)
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
    for function in graph.graph.library.function:
        drawn = next((node for node in function.node_def if DRAWS.match(node.op)), None)
        if drawn is not None and any(
            function.signature.name == attribute.func.name
            for node in graph.graph.node
            for attribute in node.attr.values()
        ):
            raise ExportRefused(
                f"{name}: draws within a loop or branch ({drawn.op} in {short_name(drawn.name)}), which no input can "
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
    if NORMAL.match(node.op):
        target, logits, distribution = node.name, None, "normal"
    elif CHOICE.match(node.op):
        target, logits, distribution = node.name, node.input[0], "gumbel"
    elif UNIFORM.match(node.op) and (last := _gumbel(graph, node)) is not None:
        target, logits, distribution = last, None, "gumbel"
    else:
        raise ExportRefused(f"{name}: draws from a distribution that no input can replace ({where}); {GREEDY_ONLY}.")
    shapes = []
    for rows in (fixed,) if fixed else TRIED_ROWS:
        given = feed(rows)
        given |= drawn_zeros(runs, before, rows, given)
        (value,) = runs.run([_tensor(logits or target)], given)
        shapes.append(value.shape)
    if CHOICE.match(node.op) and int(runs.run([_tensor(node.input[1])], {})[0]) != 1:
        raise ExportRefused(f"{name}: draws several choices at once ({where}), expected one; {GREEDY_ONLY}.")
    if fixed == 1:
        return _of_one_row(target, distribution, logits, shapes[0])
    return _laid_out(target, distribution, logits, shapes, f"{name}: {where}")


def _of_one_row(target: str, distribution: Any, logits: str | None, shape: tuple[int, ...]) -> DrawSite:
    """A draw for the one row that the graph takes: all of its numbers belong to that."""
    return DrawSite(target, distribution, logits, shape, only_row=True)


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _laid_out(
    target: str, distribution: Any, logits: str | None, shapes: list[tuple[int, ...]], where: str
) -> DrawSite:
    """A draw whose output has one axis that grows with the batch."""
    first, second = shapes
    grown = [i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
    axis = grown[0] if len(first) == len(second) and len(grown) == 1 else None
    scale = 0 if axis is None else first[axis] // TRIED_ROWS[0]
    if axis is None or [scale * rows for rows in TRIED_ROWS] != [first[axis], second[axis]]:
        raise _unplaced(where, first)
    before, after = first[:axis], first[axis + 1 :]
    if logits is not None:
        if axis != 0 or len(first) != 2:
            raise _unplaced(where, first)
        return DrawSite(target, distribution, logits, (scale, *after))
    if scale == 1:
        return DrawSite(target, distribution, None, (*before, *after), axis)
    if before:
        raise _unplaced(where, first)
    return DrawSite(target, distribution, None, (scale, *after))


def _unplaced(where: str, shape: tuple[int, ...]) -> ExportRefused:
    return ExportRefused(
        f"{where}: expected numbers for each row of the batch, got the shape {list(shape)} for {TRIED_ROWS[0]} rows; "
        f"{GREEDY_ONLY}."
    )


def _gumbel(graph: FrozenGraph, node: Any) -> str | None:
    """The node of −log(−log(u)); None if the uniform numbers are used otherwise."""
    readers, found = graph.readers(), node
    for _ in range(12):
        after = readers[found.name]
        if len(after) != 1:
            return None
        (found,) = after
        if found.op == "Neg" and _logs(graph, found.input[0]) == 2:
            return str(found.name)
        if found.op not in (
            "Mul",
            "Add",
            "AddV2",
            "Log",
            "Neg",
            "Maximum",
            "Minimum",
            "Identity",
            "Cast",
            "Sub",
            "Log1p",
        ):
            return None
    return None


def _logs(graph: FrozenGraph, name: str) -> int:
    """How many logarithms lie on the way to the draw."""
    nodes, count = graph.nodes, 0
    node = nodes[base(name)]
    while not DRAWS.match(node.op):
        count += node.op == "Log"
        inputs = [nodes[base(one)] for one in node.input]
        inputs = [one for one in inputs if one.op != "Const"]
        if len(inputs) != 1:
            return 0
        (node,) = inputs
    return count


def drawn_zeros(runs: Runs, sites: list[DrawSite], rows: int, given: Arrays) -> Arrays:
    """The values of the draws with zero noise, by tensor: what makes the policy greedy."""
    return drawn(runs, sites, [np.zeros((rows, site.size), np.float32) for site in sites], given)


def drawn(runs: Runs, sites: list[DrawSite], noise: list[AnyArray], given: Arrays) -> Arrays:
    """The values that the graph's own draws would have to have had, by tensor, for this noise."""
    found: Arrays = {}
    for site, numbers in zip(sites, noise, strict=True):
        tensor = runs.graph.get_tensor_by_name(_tensor(site.node))
        value = site.arrange(numbers)
        if site.logits is not None:
            (logits,) = runs.run([_tensor(site.logits)], given | found)
            value = np.argmax(logits + value.astype(logits.dtype), axis=-1)
            value = value if tensor.op.type == "ArgMax" else value[:, None]
        found[tensor.name] = value.astype(tensor.dtype.as_numpy_dtype)
    return found
