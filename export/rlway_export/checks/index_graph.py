"""Finds where a policy's graph looks up tables, and which places (indices) an observation leads to.

In:      a policy as a SavedModel.
Out:     `IndexGraph`: the observation's tensors on which the places depend; the places for any rows of inputs.
Refuses: a graph whose places cannot be computed row by row (NotFollowed); the caller has to do without them.

A place is an index into a table. An embedding is a Gather: it fails if a place is outside of its table, and on the CPU
it fails the whole batch. A one-hot encoding does not fail; it gives zeros. The graph that runs here ends at the places,
so that nothing fails. Where the result of one look-up is the place of another, the first look-up takes the nearest
valid place.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, IntArray
from rlway_export.reference.policy import SavedPolicy

# TensorFlow's operators that take a place, and the index of the input that holds it.
PLACE_INPUT = {
    "Gather": 1,
    "GatherNd": 1,
    "GatherV2": 1,
    "OneHot": 0,
    "ScatterNd": 0,
    **{f"SparseSegment{kind}": 1 for kind in ("Mean", "SqrtN", "Sum")},
    **{f"TensorScatter{kind}": 1 for kind in ("Add", "Max", "Min", "Sub", "Update")},
    **{f"UnsortedSegment{kind}": 1 for kind in ("Max", "Min", "Prod", "Sum")},
}
NEVER_FAILS = "OneHot"
# The outputs of these are within known limits, whatever their inputs: the chosen action, a tensor's size.
LIMITED = {"ArgMax", "ArgMin", "Bucketize", "Rank", "Shape", "ShapeN", "Size"}
ANY = np.iinfo(np.int64).max  # the size of a table whose size is not known


class NotFollowed(Exception):
    """The places cannot be computed; the text is for maintainers."""


class TableLookup(NamedTuple):
    """One operator that looks up a table."""

    name: str
    place: str  # the tensor that holds the places
    dtype: Any
    sizes: tuple[int, ...]  # of the table: one, or one per column of the places
    fails: bool


class IndexGraph:
    """The places that a policy's graph computes. `leaves` names the inputs on which they depend, often none."""

    def __init__(self, policy: SavedPolicy) -> None:
        frozen = policy.frozen()
        specs = policy.interface.inputs
        self._inputs = [(spec.name, tensor.name) for spec, tensor in zip(specs, frozen.inputs, strict=True)]
        self._graph = frozen.graph
        observed = {spec.name for spec in policy.interface.observation}
        self.leaves: list[str] = []
        found: dict[str, TableLookup] = {}
        for spec, tensor in zip(specs, frozen.inputs, strict=True):
            lookups = _lookups(tensor) if spec.name in observed else []
            if lookups:
                self.leaves.append(spec.name)
                found.update({lookup.name: lookup for lookup in lookups})
        self._lookups = list(found.values())

    def places(self, inputs: Arrays) -> IntArray:  # -> [B, P]
        """All places, row by row; 0 for a place that only counts the rows."""
        rows, found = rows_of(inputs), self._values(inputs)
        if any(value.size % rows for value in found):
            raise NotFollowed("a place belongs to no row")
        places = np.concatenate([value.reshape(rows, -1).astype(np.int64) for value in found], axis=1)
        sizes, _ = self._tables([value.size // rows for value in found])
        counted = (sizes == ANY) & (places == np.arange(rows)[:, None]).all(axis=0)
        places[:, counted] = 0
        return places

    def tables(self, inputs: Arrays) -> tuple[IntArray, AnyArray]:  # -> [P], bool[P]
        """The size of each place's table, and whether a place outside of it fails."""
        return self._tables([value.size for value in self._values({n: array[:1] for n, array in inputs.items()})])

    def _tables(self, widths: list[int]) -> tuple[IntArray, AnyArray]:
        sizes = [np.resize(found.sizes, width) for found, width in zip(self._lookups, widths, strict=True)]
        fails = [np.full(width, found.fails) for found, width in zip(self._lookups, widths, strict=True)]
        return np.concatenate(sizes).astype(np.int64), np.concatenate(fails)

    def _values(self, inputs: Arrays) -> list[AnyArray]:
        import tensorflow as tf

        try:
            return [value.numpy() for value in self._run(*(tf.constant(inputs[name]) for name, _ in self._inputs))]
        except tf.errors.OpError as error:
            raise NotFollowed(str(error)) from error

    @cached_property
    def _run(self) -> Any:
        import tensorflow as tf

        content = self._graph.as_graph_def()
        for lookup in self._lookups:
            if lookup.fails:
                _keep_inside(content, lookup)
        try:
            imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(content, name=""), [])
            places = [lookup.place for lookup in self._lookups]
            return imported.prune([name for _, name in self._inputs], places)
        except Exception as error:  # a place within a loop, for example, cannot be fetched
            raise NotFollowed(str(error)) from error


def _lookups(tensor: Any) -> list[TableLookup]:
    """The look-ups whose place depends on the tensor's values, not only on its shape."""
    reached, waiting, found = {tensor.name}, [tensor], {}
    while waiting:
        value = waiting.pop()
        for op in value.consumers():
            if op.type in LIMITED:
                continue
            place = PLACE_INPUT.get(op.type)
            if place is not None and op.inputs[place].name == value.name:
                found[op.name] = _lookup(op, op.inputs[place])
            new = [output for output in op.outputs if output.name not in reached]
            reached.update(output.name for output in new)
            waiting += new
    return list(found.values())


def _lookup(op: Any, place: Any) -> TableLookup:
    sizes = tuple(ANY if size is None else int(size) for size in _sizes(op, place))
    return TableLookup(op.name, place.name, place.dtype, sizes, op.type != NEVER_FAILS)


def _sizes(op: Any, place: Any) -> Iterable[int | None]:
    """The sizes of the operator's table, as far as they do not depend on the batch."""
    import tensorflow as tf

    match op.type:
        case "OneHot":
            return [tf.get_static_value(op.inputs[1])]
        case "ScatterNd":
            return _first(tf.get_static_value(op.inputs[2]), place)
        case "Gather" | "GatherV2":
            axis = tf.get_static_value(op.inputs[2]) if op.type == "GatherV2" else 0
            return [None if axis is None or op.inputs[0].shape.rank is None else op.inputs[0].shape[int(axis)]]
        case kind if kind.startswith("UnsortedSegment"):
            return [tf.get_static_value(op.inputs[2])]
        case kind if kind.startswith("SparseSegment"):
            return [op.inputs[0].shape[0] if op.inputs[0].shape.rank else None]
    return _first(op.inputs[0].shape.as_list() if op.inputs[0].shape.rank else None, place)


def _first(dimensions: Any, place: Any) -> list[int | None]:
    """The first dimensions of a table, one per number of a place."""
    columns = place.shape[-1] if place.shape.rank else None
    return [None] if columns is None or dimensions is None else list(dimensions[:columns])


def _keep_inside(content: Any, lookup: TableLookup) -> None:
    """Clamps the operator's place to its table."""
    import tensorflow as tf

    node = next(node for node in content.node if node.name == lookup.name)
    sizes = lookup.sizes if len(lookup.sizes) > 1 else lookup.sizes[0]  # a place by itself keeps its shape
    largest = np.minimum(np.array(sizes, np.int64) - 1, lookup.dtype.max)
    value = node.input[PLACE_INPUT[node.op]]
    for kind, limit in (("Minimum", largest), ("Maximum", np.zeros_like(largest))):
        name = f"{lookup.name}/rlway_{kind.lower()}"
        constant = content.node.add(op="Const", name=f"{name}/limit")
        constant.attr["dtype"].type = lookup.dtype.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(limit, lookup.dtype))
        nearest = content.node.add(op=kind, name=name, input=[value, constant.name])
        nearest.attr["T"].type = lookup.dtype.as_datatype_enum
        value = name
    node.input[PLACE_INPUT[node.op]] = value
