"""What an observation of a policy looks like on the wire, and as the inputs of its model.

In:      a manifest's observation specs; observations as JSON or as raw bytes.
Out:     arrays by input name, first dimension B; the faults of values, by path.
Refuses: nothing by itself.

A policy with one input takes its nested list, which goes through as it was parsed. One with several takes an object,
nested as the specs' paths say. Raw, a row is its tensors one after the other, in the order of the manifest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.parity import Arrays
from rlway_client.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, describe, find_faults, outside_lookup


class ObservationForm:
    """The observations of one policy. `plain` when they are one tensor and no object."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = tuple(specs)
        self.plain = len(self.specs) == 1 and not self.specs[0].path
        self.values = sum(max(1, spec.size) for spec in self.specs)
        self.row_dtype = np.dtype([(spec.name, spec.numpy_dtype, spec.shape) for spec in self.specs])
        self._dtype, self._shape = self.specs[0].numpy_dtype, tuple(self.specs[0].shape)
        self._lookups = [spec for spec in self.specs if spec.is_lookup]
        self._bools = [spec.name for spec in self.specs if spec.numpy_dtype.kind == "b"]
        self._tree: Any = _grow(self.specs)
        getters = {} if self.plain else dict(_getters(self._tree, ""))
        self._getters = [getters[spec.name] for spec in self.specs if getters]
        self.row_type = _row_type(self._tree, row_type)
        self.finite_row_type = row_type(self.specs[0], finite=True) if self.plain else self.row_type
        self._loose_rows_type = list[_row_type(self._tree, loose_row_type)]  # type: ignore[misc]  # made at run time
        self._has_tuples = _has_tuples(self._tree)

    @property
    def label(self) -> str:
        """As people write it: `float32[4]`, `{"camera": uint8[8, 8, 3], "speed": float32}`."""
        return _label(self._tree)

    @property
    def example(self) -> Any:
        """An observation of zeros, or of what lies nearest to them, as JSON takes it."""
        return _example(self._tree)

    def gather(self, rows: Sequence[Any]) -> Arrays:
        """Rows of `row_type` of a policy with several inputs, not yet of their dtypes."""
        return {
            spec.name: np.asarray([get(row) for row in rows])
            for spec, get in zip(self.specs, self._getters, strict=True)
        }

    def with_keys(self, rows: list[Any]) -> list[Any]:
        """Rows of JSON in which an array may stand for an object with the keys "0", "1", …: the value of a tuple."""
        return [_with_keys(row, self._tree) for row in rows] if self._has_tuples else rows

    def convert(self, rows: list[Any]) -> AnyArray | Arrays | None:
        """Rows as Python's json reads them, as arrays of their dtypes; None if any of them has a fault."""
        try:
            loose = msgspec.convert(rows, self._loose_rows_type)
            leaves = [loose] if self.plain else [[get(row) for row in loose] for get in self._getters]
            arrays = {spec.name: _exactly(leaf, spec) for spec, leaf in zip(self.specs, leaves, strict=True)}
        except (msgspec.ValidationError, UnicodeEncodeError, OverflowError, ValueError):
            return None
        if not self.are_sound(arrays):
            return None
        return arrays[self.specs[0].name] if self.plain else arrays

    def count(self, observations: AnyArray | Arrays) -> int:
        """The rows of arrays."""
        return len(observations if self.plain else next(iter(observations.values())))  # type: ignore[union-attr]

    def read_rows(self, body: bytes) -> AnyArray | Arrays:
        """Raw rows, of which `body` holds a whole number."""
        rows = np.frombuffer(body, self.row_dtype)
        columns = {spec.name: rows[spec.name] for spec in self.specs}
        for name in self._bools:
            columns[name] = _as_bool(columns[name])
        return columns[self.specs[0].name] if self.plain else columns

    def join(self, parts: Sequence[bytes]) -> AnyArray:
        """A raw row of each of several calls, of a policy with one input."""
        rows = np.frombuffer(b"".join(parts), self._dtype).reshape(len(parts), *self._shape)
        return _as_bool(rows) if self._bools else rows

    def stack_plain(self, rows: Sequence[Any]) -> AnyArray:
        """Rows of `finite_row_type`, of a policy with one input."""
        shape = (len(rows), *self._shape)
        if len(shape) != 2:
            return np.array(rows, self._dtype)
        return np.fromiter(chain.from_iterable(rows), self._dtype, shape[0] * shape[1]).reshape(shape)

    def stack(self, parts: Sequence[Any]) -> Arrays:
        """Several calls' observations as the model's inputs; what a dtype cannot hold becomes infinite."""
        with np.errstate(over="ignore"):
            return {spec.name: self._stack(spec, parts) for spec in self.specs}

    def _stack(self, spec: TensorSpec, parts: Sequence[Any]) -> AnyArray:
        shape = (-1, *spec.shape)
        values = parts if self.plain else [part[spec.name] for part in parts]
        arrays = [np.asarray(value, spec.numpy_dtype).reshape(shape) for value in values]
        return np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)

    def are_sound(self, inputs: Arrays) -> bool:
        """Whether all values are finite, and those that are looked up lie in their tables."""
        return all(all_finite(inputs[spec.name]) for spec in self.specs) and self.are_in_tables(inputs)

    def are_in_tables(self, inputs: Arrays) -> bool:
        """Whether the values that the policy looks up in tables lie in these."""
        return not any(outside_lookup(inputs[spec.name], spec).any() for spec in self._lookups)

    def unsound_rows(self, inputs: Arrays) -> AnyArray:  # -> bool[rows]
        """Which rows are not sound."""
        unfit = [_unfit_rows(inputs[spec.name], spec) for spec in self.specs]
        rows: AnyArray = np.logical_or.reduce(unfit)
        return rows

    def faults(self, observations: Any, rows: int, batched: bool) -> list[Fault]:
        """The values that their dtype cannot hold as finite numbers, or that lie outside of their table, by path."""
        faults: list[Fault] = []
        for spec in self.specs:
            values = np.asarray(observations if self.plain else observations[spec.name]).reshape(rows, *spec.shape)
            with np.errstate(over="ignore"):
                cast = values.astype(spec.numpy_dtype)
            for row in np.flatnonzero(_unfit_rows(cast, spec))[:MAX_FAULTS]:
                where = (f"observations[{row}]" if batched else "observation") + _keys(spec.path)
                faults += find_faults(values[row].tolist(), spec, where)
        return faults[:MAX_FAULTS]

    def find_faults(self, value: Any, where: str) -> list[Fault]:
        """Where one observation, as Python read it from JSON, does not fit."""
        return _find_faults(value, self._tree, where)[:MAX_FAULTS]


def all_finite(array: AnyArray) -> bool:
    """Whether there is neither an infinity nor a NaN."""
    if array.dtype.kind != "f":
        return True
    # The sum of squares is one fast pass; where it is not finite, the values may be all the same, if they are large.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def rows_not_finite(array: AnyArray) -> AnyArray:  # -> bool[rows]
    """Which rows hold an infinity or a NaN."""
    if array.dtype.kind != "f":
        return np.zeros(len(array), bool)
    finite: AnyArray = np.asarray(np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return ~finite


def _unfit_rows(array: AnyArray, spec: TensorSpec) -> AnyArray:  # -> bool[rows]
    """Which rows hold what is not finite, or lies outside of the table in which it is looked up."""
    unfit = rows_not_finite(array)
    if not spec.is_lookup:
        return unfit
    outside = np.asarray(outside_lookup(array, spec).reshape(len(array), -1).any(axis=1))
    return unfit | outside


def _as_bool(octets: AnyArray) -> AnyArray:
    """A bool is one octet, and every one but 0 is true; numpy takes only 1 for what others call true."""
    values: AnyArray = octets.view(np.uint8) != 0
    return values


def _exactly(rows: Any, spec: TensorSpec) -> AnyArray:  # -> [rows, *shape]
    """Nested lists as an array of the dtype. Raises ValueError, OverflowError for what the dtype cannot hold."""
    if spec.numpy_dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return np.array(rows, spec.numpy_dtype).reshape(len(rows), *spec.shape)
    numbers = rows
    for _ in spec.shape:
        numbers = chain.from_iterable(numbers)
    numbers = list(numbers)
    whole = list(map(int, numbers))  # numpy would round whole numbers among others to float64
    limits = np.iinfo(spec.dtype)
    if whole != numbers or not limits.min <= min(whole) <= max(whole) <= limits.max:
        raise ValueError("a number is not one of the dtype's")
    return np.array(whole, spec.numpy_dtype).reshape(len(rows), *spec.shape)


def _grow(specs: Sequence[TensorSpec]) -> Any:
    """The specs as the observation nests them: one alone, or objects of others."""
    if len(specs) == 1 and not specs[0].path:
        return specs[0]
    tree: dict[str, Any] = {}
    for spec in specs:
        branch = tree
        for key in spec.path[:-1]:
            branch = branch.setdefault(key, {})
        branch[spec.path[-1]] = spec
    return tree


def _row_type(tree: Any, leaf_type: Callable[[TensorSpec], Any], name: str = "Observation") -> Any:
    """The type of a row. Objects become structs whose fields are numbered, since keys need not be names."""
    if isinstance(tree, TensorSpec):
        return leaf_type(tree)
    keys = {f"f{i}": key for i, key in enumerate(tree)}
    fields = [(field, _row_type(tree[key], leaf_type, name + field)) for field, key in keys.items()]
    return msgspec.defstruct(name, fields, rename=keys, forbid_unknown_fields=True)


def _getters(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """How to get at the leaves of such a struct, by their names."""
    for i, branch in enumerate(tree.values()):
        if isinstance(branch, TensorSpec):
            yield branch.name, attrgetter(f"{prefix}f{i}")
        else:
            yield from _getters(branch, f"{prefix}f{i}.")


def _is_tuple(tree: Any) -> bool:
    return isinstance(tree, dict) and list(tree) == [str(i) for i in range(len(tree))]


def _has_tuples(tree: Any) -> bool:
    return isinstance(tree, dict) and (_is_tuple(tree) or any(map(_has_tuples, tree.values())))


def _with_keys(value: Any, tree: Any) -> Any:
    if not isinstance(tree, dict):
        return value
    if isinstance(value, list) and _is_tuple(tree) and len(value) == len(tree):
        value = dict(zip(tree, value, strict=True))
    if not isinstance(value, dict):
        return value
    return {key: _with_keys(part, tree.get(key)) for key, part in value.items()}


def _keys(path: Sequence[str]) -> str:
    return "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in path)


def _label(tree: TensorSpec | dict[str, Any]) -> str:
    if isinstance(tree, TensorSpec):
        return tree.label
    return "{" + ", ".join(f"{json.dumps(key)}: {_label(branch)}" for key, branch in tree.items()) + "}"


def _example(tree: TensorSpec | dict[str, Any]) -> Any:
    if isinstance(tree, TensorSpec):
        return tree.neutral(1)[0].tolist()
    return {key: _example(branch) for key, branch in tree.items()}


def _find_faults(value: Any, tree: TensorSpec | dict[str, Any], where: str) -> list[Fault]:
    if isinstance(tree, TensorSpec):
        return find_faults(value, tree, where)
    if not isinstance(value, dict):
        return [Fault(where, f"an object {_label(tree)}", describe(value))]
    faults: list[Fault] = []
    for key, branch in tree.items():
        place = where + _keys([key])
        faults += _find_faults(value[key], branch, place) if key in value else [Fault(place, _label(branch), "nothing")]
    unknown = [key for key in value if key not in tree]
    return faults + [Fault(where + _keys([key[:64]]), "nothing: the policy has no such input", "it") for key in unknown]


def row_type(spec: TensorSpec, finite: bool = False) -> Any:
    """The msgspec type of one tensor: nested lists of exactly the spec's shape.

    Numbers may be too large for the dtype's floats, unless `finite`.
    """
    kind: Any = {"f": float, "b": bool}.get(spec.numpy_dtype.kind, int)
    if kind is float and finite:
        largest = float(np.finfo(spec.numpy_dtype).max)
        kind = Annotated[float, Meta(ge=-largest, le=largest)]
    if kind is int:
        limits = np.iinfo(spec.dtype)
        # msgspec's bounds are 64-bit signed; uint64 beyond them is left to the slow reader.
        kind = Annotated[int, Meta(ge=int(limits.min), le=min(int(limits.max), 2**63 - 1))]
    return _nested(kind, spec.shape)


def loose_row_type(spec: TensorSpec) -> Any:
    """The same, for what Python's json has read: any number will do."""
    kinds: dict[str, Any] = {"f": float, "b": bool}
    return _nested(kinds.get(spec.numpy_dtype.kind, int | float), spec.shape)


def _nested(kind: Any, shape: Sequence[int]) -> Any:
    for length in reversed(shape):
        kind = Annotated[list[kind], Meta(min_length=length, max_length=length)]
    return kind
