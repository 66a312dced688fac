"""A nest of tensors as a tree, for a terminal.

In:      the specs of a nest, in order.
Out:     one line for a single tensor; else a tree of its keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from rlway_client.cli.inspect import bounds_in_words
from rlway_client.contract.specs import TensorSpec
from rlway_export.inspect.printable import short

MOST_LEAVES = 16


def nest_tree(specs: Sequence[TensorSpec]) -> RenderableType:
    """The tensors under their keys; those after the first `MOST_LEAVES` are only counted."""
    if len(specs) == 1 and not specs[0].path:
        return Text(_label(specs[0]))
    tree = Tree("", hide_root=True)
    branches: dict[tuple[str, ...], Tree] = {(): tree}
    for spec in specs[:MOST_LEAVES]:
        for depth in range(1, len(spec.path)):
            path = spec.path[:depth]
            if path not in branches:
                branches[path] = branches[path[:-1]].add(Text(short(path[-1])))
        branches[spec.path[:-1]].add(Text(f"{short(spec.path[-1] if spec.path else spec.name)}  {_label(spec)}"))
    if len(specs) > MOST_LEAVES:
        tree.add(Text(f"… {len(specs) - MOST_LEAVES} more, which --json has"))
    return tree


def _label(spec: TensorSpec) -> str:
    return f"{spec.label}  {bounds_in_words(spec)}"
