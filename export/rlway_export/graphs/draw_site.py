"""One random draw of a policy's graph: which numbers it takes for each row, and where they lie in its output.

In:      the shapes of the draw's output over two batch sizes.
Out:     `DrawSite`, which arranges noise [B, size] as the graph has it.
Refuses: a draw that is not made for each row (ExportRefused).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.frozen import Runs, whole

TRIED_ROWS = (3, 5)  # batch sizes, with which the sizes of the draws are found
GREEDY_ONLY = "save GreedyPolicy(policy) in its place, or give the trigger's greedy_policy"


class SharedDraw(ExportRefused):
    """A draw of the same numbers for all rows, as in TD3's collect policy, which is meant for one row at a time."""


class DrawSite(NamedTuple):
    """One draw of the graph."""

    node: str  # whose output is replaced: the draw's own, or that of the last operation of a Gumbel draw
    distribution: Literal["normal", "gumbel"]
    logits: str | None  # the tensor of which one entry is chosen; None for numbers
    shape: tuple[int, ...]  # of one row's numbers; [rows of logits, choices] for a choice
    layout: tuple[int, ...]  # the shape to which noise [B, size] is reshaped; −1 stands for the batch
    order: tuple[int, ...] | None = None  # of the axes then, which moves the batch to its place
    negated: bool = False  # whether the output is the noise's negative

    @property
    def size(self) -> int:
        """How many numbers it takes for one row."""
        return math.prod(self.shape)

    def arrange(self, noise: AnyArray) -> AnyArray:  # [B, size] -> as the draw's output, or as its logits
        """The numbers of all rows as the graph has them."""
        shaped = noise.reshape(self.layout)
        placed = shaped if self.order is None else shaped.transpose(self.order)
        return -placed if self.negated else placed


def place(node: str, logits: str | None, shapes: list[tuple[int, ...]], where: str) -> DrawSite:
    """The draw with this output, or of these logits; `shapes` are theirs with each of `TRIED_ROWS`.

    `where` names the SavedModel and the draw in messages.
    """
    first, second = shapes
    grown = [i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
    if len(first) == len(second) and not grown:
        raise _shared(where)
    axis = grown[0] if len(first) == len(second) and len(grown) == 1 else None
    each = 0 if axis is None else first[axis] // TRIED_ROWS[0]
    if axis is None or [each * rows for rows in TRIED_ROWS] != [first[axis], second[axis]]:
        raise _unplaced(where, first)
    before, after = first[:axis], first[axis + 1 :]
    if logits is not None:
        if axis != 0 or len(first) != 2:
            raise _unplaced(where, first)
        return DrawSite(node, "gumbel", logits, (each, *after), (-1, *after))
    if each == 1:
        sizes = (*before, *after)
        order = (*range(1, axis + 1), 0, *range(axis + 1, len(first))) if axis else None
        return DrawSite(node, "normal", None, sizes, (-1, *sizes), order)
    # The numbers of a row lie one after the other along the axis of the batch: [B · k, …].
    if math.prod(before) != 1:
        raise _unplaced(where, first)
    return DrawSite(node, "normal", None, (each, *after), (*before, -1, *after))


def place_only_row(node: str, logits: str | None, shape: tuple[int, ...]) -> DrawSite:
    """The draw of a graph that takes one row: all of its numbers belong to that."""
    return DrawSite(node, "normal" if logits is None else "gumbel", logits, shape, shape)


def _shared(where: str) -> SharedDraw:
    return SharedDraw(f"{where}: draws the same numbers for all rows of a batch; {GREEDY_ONLY}.")


def _unplaced(where: str, shape: tuple[int, ...]) -> ExportRefused:
    return ExportRefused(
        f"{where}: expected numbers for each row of the batch, got the shape {list(shape)} for {TRIED_ROWS[0]} rows; "
        f"{GREEDY_ONLY}."
    )


def drawn_zeros(runs: Runs, sites: list[DrawSite], rows: int, given: Arrays) -> Arrays:
    """The values of the draws with zero noise, by tensor: what makes the policy greedy."""
    return drawn(runs, sites, [np.zeros((rows, site.size), np.float32) for site in sites], given)


def drawn(runs: Runs, sites: list[DrawSite], noise: list[AnyArray], given: Arrays) -> Arrays:
    """The values that the graph's own draws would have to have had, by tensor, for this noise."""
    found: Arrays = {}
    for site, numbers in zip(sites, noise, strict=True):
        tensor = runs.graph.get_tensor_by_name(whole(site.node))
        value = site.arrange(numbers)
        if site.logits is not None:
            (logits,) = runs.run([tensor.op.inputs[0].name], given | found)
            value = np.argmax(logits + value.astype(logits.dtype), axis=-1)
            value = value if tensor.op.type == "ArgMax" else value[:, None]
        found[tensor.name] = value.astype(tensor.dtype.as_numpy_dtype)
    return found
