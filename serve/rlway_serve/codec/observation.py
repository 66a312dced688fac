"""The form of a policy's observations: on the wire, and as the inputs of its model.

In:      a manifest's observation specs; observations as JSON or as raw bytes.
Out:     arrays by input name, first dimension B; the faults of values, by path.
Refuses: nothing by itself.

As JSON, an observation with one tensor is a nested list, and one with several tensors is an object nested as the specs'
paths say. Where the manifest names a tensor's elements, an object of these names may stand for its list. As raw bytes,
a row is its tensors one after the other, in the order of the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.meaning import Meaning
from rlway_client.contract.named_values import in_order
from rlway_client.contract.nesting import grow
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, find_faults, outside_lookup, table_ends
from rlway_serve.codec import nesting
from rlway_serve.codec.nesting import loose_row_type, row_type


class ObservationForm:
    """The observations of one policy. They are `plain` if they are a single tensor outside any object."""

    def __init__(self, specs: Sequence[TensorSpec], meaning: Meaning | None = None) -> None:
        """Where `meaning` has names for a tensor's elements, an object of these names may hold its values."""
        self.specs = tuple(specs)
        named = meaning.names if meaning else {}
        self._names = {spec.name: named[spec.name] for spec in self.specs if spec.name in named}
        self.plain = len(self.specs) == 1 and not self.specs[0].path
        self.values = sum(max(1, spec.size) for spec in self.specs)  # in one row
        self.row_dtype = np.dtype([(spec.name, spec.numpy_dtype, spec.shape) for spec in self.specs])
        self._dtype, self._shape = self.specs[0].numpy_dtype, tuple(self.specs[0].shape)
        self._tables = [(spec.name, *table_ends(spec)) for spec in self.specs if spec.is_lookup]
        self.looks_up = bool(self._tables)
        self._bools = [spec.name for spec in self.specs if spec.numpy_dtype.kind == "b"]
        self._tree: Any = grow(self.specs)
        places = {spec.name: i for i, spec in enumerate(nesting.leaves_of(self._tree))}
        self._in_order = [places[spec.name] for spec in self.specs]
        # msgspec cannot read objects whose keys JSON has to escape. With None the slow reader reads every row.
        self.row_type = nesting.object_type(self._tree) if nesting.are_plain_keys(self._tree) else None
        self.finite_row_type = row_type(self.specs[0], finite=True) if self.plain else self.row_type
        getters = list(nesting.getters(self._tree, "")) if self.row_type else []
        self._getters = [getters[i] for i in self._in_order if getters]

    @property
    def label(self) -> str:
        """The form in error sentences: `float32[4]`, or `{"camera": uint8[8, 8, 3], "speed": float32}`."""
        return nesting.label(self._tree)

    @property
    def example(self) -> Any:
        """An observation for JSON: zeros, or the allowed values nearest to zero."""
        return nesting.example(self._tree, {})

    @property
    def example_by_name(self) -> Any:
        """The same, with values by name where a tensor's elements have names; None if none have."""
        return nesting.example(self._tree, self._names) if self._names else None

    def gather(self, rows: Sequence[Any]) -> Arrays:
        """Columns by input name from rows of `row_type`, not yet in their dtypes; for several inputs."""
        return {
            spec.name: np.asarray([get(row) for row in rows])
            for spec, get in zip(self.specs, self._getters, strict=True)
        }

    def convert(self, rows: list[Any]) -> AnyArray | Arrays | None:
        """Rows as Python's json reads them, converted to arrays; None if any of them has a fault."""
        try:
            columns = list(zip(*(nesting.pick_leaves(row, self._tree) for row in rows), strict=True))
            arrays = {}
            for spec, i in zip(self.specs, self._in_order, strict=True):
                values = self._put_in_order(columns[i], spec) if spec.name in self._names else columns[i]
                arrays[spec.name] = _exactly(msgspec.convert(values, list[loose_row_type(spec)]), spec)  # type: ignore[misc]
        except (SpecViolated, msgspec.ValidationError, OverflowError, ValueError):
            return None
        if not self.are_sound(arrays):
            return None
        return arrays[self.specs[0].name] if self.plain else arrays

    def join_arrays(self, parts: Sequence[AnyArray | Arrays]) -> AnyArray | Arrays:
        """Joins several results of `convert`."""
        if len(parts) == 1:
            return parts[0]
        if self.plain:
            return np.concatenate(parts)  # type: ignore[arg-type]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.specs}

    def count(self, observations: AnyArray | Arrays) -> int:
        """The number of rows."""
        return len(observations if self.plain else next(iter(observations.values())))  # type: ignore[union-attr]

    def read_rows(self, body: bytes) -> AnyArray | Arrays:
        """Arrays from raw bytes, which have to be a whole number of rows."""
        rows = np.frombuffer(body, self.row_dtype)
        columns = {spec.name: rows[spec.name] for spec in self.specs}
        for name in self._bools:
            columns[name] = as_bool(columns[name])
        return columns[self.specs[0].name] if self.plain else columns

    def join(self, parts: Sequence[bytes]) -> AnyArray:  # -> [rows, *shape]
        """Joins raw rows, one of each call, for a policy with one input."""
        rows = np.frombuffer(b"".join(parts), self._dtype).reshape(len(parts), *self._shape)
        return as_bool(rows) if self._bools else rows

    def stack_plain(self, rows: Sequence[Any]) -> AnyArray:  # -> [rows, *shape]
        """Stacks rows of `finite_row_type`, for a policy with one input."""
        shape = (len(rows), *self._shape)
        if len(shape) != 2:
            return np.array(rows, self._dtype)
        return np.fromiter(chain.from_iterable(rows), self._dtype, shape[0] * shape[1]).reshape(shape)

    def stack(self, parts: Sequence[Any]) -> Arrays:  # -> [rows of all parts, *shape] by input name
        """Several calls' observations as the model's inputs. Values too large for a dtype become infinite."""
        with np.errstate(over="ignore"):
            return {spec.name: self._stack(spec, parts) for spec in self.specs}

    def _stack(self, spec: TensorSpec, parts: Sequence[Any]) -> AnyArray:
        shape = (-1, *spec.shape)
        values = parts if self.plain else [part[spec.name] for part in parts]
        arrays = [np.asarray(value, spec.numpy_dtype).reshape(shape) for value in values]
        return np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)

    def are_sound(self, inputs: Arrays) -> bool:
        """Whether all values are finite, and all lookups within their tables."""
        return all(all_finite(inputs[spec.name]) for spec in self.specs) and self.are_in_tables(inputs)

    def are_in_tables(self, inputs: Arrays) -> bool:
        """Whether every value that the policy looks up in a table has an entry there."""
        return not any(((inputs[name] < first) | (inputs[name] > last)).any() for name, first, last in self._tables)

    def unsound_rows(self, inputs: Arrays) -> AnyArray:  # -> bool[rows]
        """A mask of the rows that are not sound."""
        unfit = [_unfit_rows(inputs[spec.name], spec) for spec in self.specs]
        rows: AnyArray = np.logical_or.reduce(unfit)
        return rows

    def faults(self, observations: Any, rows: int, batched: bool, named: bool = False) -> list[Fault]:
        """The values that are not finite in their dtype or have no entry in their table, by path.

        The paths of `named` observations begin with the tensor's name.
        """
        faults: list[Fault] = []
        for spec in self.specs:
            values = np.asarray(observations if self.plain else observations[spec.name]).reshape(rows, *spec.shape)
            with np.errstate(over="ignore"):
                cast = values.astype(spec.numpy_dtype)
            for row in np.flatnonzero(_unfit_rows(cast, spec))[:MAX_FAULTS]:
                where = (f"observations[{row}]" if batched else "observation") + nesting.in_brackets(spec.path)
                if named:
                    where = f"{spec.name}[{row}]" if batched else spec.name
                faults += find_faults(values[row].tolist(), spec, where)
        return faults[:MAX_FAULTS]

    def find_faults(self, value: Any, where: str) -> list[Fault]:
        """The faults of one observation as Python's json read it."""
        return nesting.tree_faults(value, self._tree, where, self._names)[:MAX_FAULTS]

    def _put_in_order(self, values: Sequence[Any], spec: TensorSpec) -> list[Any]:
        """The values of several rows, with lists in place of objects of names. Raises SpecViolated."""
        names = self._names[spec.name]
        return [in_order(value, spec, names) if isinstance(value, dict) else value for value in values]


def all_finite(array: AnyArray) -> bool:
    """Whether the array holds neither an infinity nor a NaN."""
    if array.dtype.kind != "f":
        return True
    # The sum of squares is one fast pass. If it overflows, the values may still be finite, so they are checked.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def rows_not_finite(array: AnyArray) -> AnyArray:  # -> bool[rows]
    """A mask of the rows that hold an infinity or a NaN."""
    if array.dtype.kind != "f":
        return np.zeros(len(array), bool)
    finite: AnyArray = np.asarray(np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return ~finite


def as_bool(octets: AnyArray) -> AnyArray:
    """A bool is one octet, and every octet but 0 is true. numpy would keep other octets than 0 and 1 as they are."""
    values: AnyArray = octets.view(np.uint8) != 0
    return values


def _unfit_rows(array: AnyArray, spec: TensorSpec) -> AnyArray:  # -> bool[rows]
    """A mask of the rows with a value that is not finite, or that has no entry in its table."""
    unfit = rows_not_finite(array)
    if not spec.is_lookup:
        return unfit
    outside = np.asarray(outside_lookup(array, spec).reshape(len(array), -1).any(axis=1))
    return unfit | outside


def _exactly(rows: Any, spec: TensorSpec) -> AnyArray:  # -> [rows, *shape]
    """Nested lists as an array of the dtype. Raises ValueError or OverflowError if the dtype cannot hold a number."""
    if spec.numpy_dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return np.array(rows, spec.numpy_dtype).reshape(len(rows), *spec.shape)
    numbers = rows
    for _ in spec.shape:
        numbers = chain.from_iterable(numbers)
    numbers = list(numbers)
    whole = list(map(int, numbers))  # numpy would turn a mixed list into float64 and round large integers
    limits = np.iinfo(spec.dtype)
    if whole != numbers or not limits.min <= min(whole) <= max(whole) <= limits.max:
        raise ValueError("a number is not one of the dtype's")
    return np.array(whole, spec.numpy_dtype).reshape(len(rows), *spec.shape)
