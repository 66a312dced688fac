"""The sizes of a policy's results that its SavedModel leaves open, found by running it.

In:      a graph, rows that it takes, what its outputs are.
Out:     the same outputs, their sizes known as far as they are the same for every batch.

Distributions that TensorFlow Probability transforms, such as the tanh of a normal one, give tensors of unknown sizes.
"""

from __future__ import annotations

from collections.abc import Callable

from rlway_client.contract.parity import Arrays
from rlway_export.graphs.draw_site import TRIED_ROWS
from rlway_export.graphs.frozen import FrozenGraph, Runs
from rlway_export.graphs.nests import Leaf


def is_known(leaf: Leaf) -> bool:
    """Whether all sizes but that of the batch are known, and none is zero."""
    shape = leaf.shape or ()
    return bool(shape) and None not in shape[1:] and 0 not in shape


def known_leaf(leaf: Leaf, graph: FrozenGraph, tensor: str, feed: Callable[[int], Arrays], fixed: int | None) -> Leaf:
    """The leaf with the sizes that the tensor really has."""
    if is_known(leaf):
        return leaf
    runs = Runs(graph)
    try:
        shapes = {runs.run([tensor], feed(rows))[0].shape[1:] for rows in ((fixed,) if fixed else TRIED_ROWS)}
    finally:
        runs.close()
    return leaf._replace(shape=(fixed, *shapes.pop())) if len(shapes) == 1 else leaf
