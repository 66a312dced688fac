"""The form of a policy's actions: as the outputs of its model, and on the wire.

In:      a manifest's action specs; the outputs of a run, by name.
Out:     whether the actions of a run can be sent; each row as a value for JSON, or as raw bytes.
Refuses: nothing by itself.

As JSON, an action with one tensor is a nested list, and one with several tensors is an object nested as the specs'
paths say; a tuple has the keys "0", "1", … As raw bytes, a row is its tensors one after the other, in the order of the
manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.nesting import Tree, grow
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_serve.codec import nesting
from rlway_serve.codec.observation import all_finite, rows_not_finite

MAX_PREPARED_ACTIONS = 1024


class ActionForm:
    """The actions of one policy. They are `plain` if they are a single tensor outside any object."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = tuple(specs)
        self.names = tuple(spec.name for spec in self.specs)
        self.plain = len(self.specs) == 1 and not self.specs[0].path
        self._tree = grow(self.specs)
        self.row_bytes = sum(spec.row_bytes for spec in self.specs)
        self._row_dtype = np.dtype([(spec.name, spec.numpy_dtype, spec.shape) for spec in self.specs])

    @property
    def label(self) -> str:
        """The form in words: `int64`, or `{"gear": int64, "steering": float32[2]}`."""
        return nesting.label(self._tree)

    def counts(self, results: Mapping[str, AnyArray]) -> set[int]:
        """How many rows the tensors have; in a sound run all have as many as its inputs."""
        return {len(results[name]) for name in self.names}

    def are_finite(self, results: Mapping[str, AnyArray]) -> bool:
        """Whether no action of a run holds an infinity or a NaN."""
        return all(all_finite(results[name]) for name in self.names)

    def rows_not_finite(self, results: Mapping[str, AnyArray]) -> AnyArray:  # -> bool[rows]
        """A mask of the rows whose action holds an infinity or a NaN."""
        odd: AnyArray = np.logical_or.reduce([rows_not_finite(results[name]) for name in self.names])
        return odd

    def rows(self, results: Mapping[str, AnyArray]) -> list[Any]:
        """Each row's action as a value for JSON."""
        return _rows(self._tree, {name: results[name].tolist() for name in self.names})

    def octets(self, results: Mapping[str, AnyArray]) -> bytes:
        """All rows' actions as raw little-endian bytes."""
        records = np.empty(len(results[self.names[0]]), self._row_dtype)
        for name in self.names:
            records[name] = results[name]
        return records.tobytes()


def few_actions(spec: TensorSpec) -> range:
    """Every action of a small discrete policy, whose answers can be prepared; none of others."""
    if not spec.is_discrete or spec.shape:
        return range(0)
    low, high = (float(bound) for bound in spec.bounds())
    return range(int(low), int(high) + 1) if 0 <= high - low < MAX_PREPARED_ACTIONS else range(0)


def _rows(tree: Tree, columns: Mapping[str, list[Any]]) -> list[Any]:
    """Rows nested as the tree, from the rows of each of its tensors."""
    if isinstance(tree, TensorSpec):
        return columns[tree.name]
    parts = (_rows(branch, columns) for branch in tree.values())
    return [dict(zip(tree, row, strict=True)) for row in zip(*parts, strict=True)]
