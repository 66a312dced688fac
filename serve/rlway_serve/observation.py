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
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.parity import Arrays
from rlway_client.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, describe, find_faults


class ObservationForm:
    """The observations of one policy. `plain` when they are one tensor and no object."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = tuple(specs)
        self.plain = len(self.specs) == 1 and not self.specs[0].path
        self.values = sum(max(1, spec.size) for spec in self.specs)
        self.row_dtype = np.dtype([(spec.name, spec.numpy_dtype, spec.shape) for spec in self.specs])
        self._dtype, self._shape = self.specs[0].numpy_dtype, tuple(self.specs[0].shape)
        self._tree: dict[str, Any] = {}
        self._getters: list[Any] = []
        if self.plain:
            self.row_type: Any = row_type(self.specs[0])
            self.finite_row_type = row_type(self.specs[0], finite=True)
        else:
            for spec in self.specs:
                self._plant(spec)
            self.row_type = self.finite_row_type = self._object_type(self._tree, "Observation", "")

    @property
    def label(self) -> str:
        """As people write it: `float32[4]`, `{"camera": uint8[8, 8, 3], "speed": float32}`."""
        return self.specs[0].label if self.plain else _label(self._tree)

    @property
    def example(self) -> Any:
        """An observation of zeros, as JSON takes it."""
        return _zeros(self.specs[0]) if self.plain else _example(self._tree)

    def gather(self, rows: Sequence[Any]) -> Arrays:
        """Rows of `row_type` of a policy with several inputs, not yet of their dtypes."""
        return {
            spec.name: np.asarray([get(row) for row in rows])
            for spec, get in zip(self.specs, self._getters, strict=True)
        }

    def read_rows(self, body: bytes) -> AnyArray | Arrays:
        """Raw rows, of which `body` holds a whole number."""
        rows = np.frombuffer(body, self.row_dtype)
        columns = {spec.name: rows[spec.name] for spec in self.specs}
        return columns[self.specs[0].name] if self.plain else columns

    def join(self, parts: Sequence[bytes]) -> AnyArray:
        """A raw row of each of several calls, of a policy with one input."""
        return np.frombuffer(b"".join(parts), self._dtype).reshape(len(parts), *self._shape)

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

    def not_finite(self, observations: Any, rows: int, batched: bool) -> list[Fault]:
        """The values that their dtype cannot hold as finite numbers, by path."""
        faults: list[Fault] = []
        for spec in self.specs:
            values = np.asarray(observations if self.plain else observations[spec.name]).reshape(rows, -1)
            with np.errstate(over="ignore"):
                bad = np.argwhere(~np.isfinite(values.astype(spec.numpy_dtype)))[:MAX_FAULTS]
            for row, column in bad:
                start = (f"observations[{row}]" if batched else "observation") + _keys(spec.path)
                where = "".join(f"[{i}]" for i in np.unravel_index(column, spec.shape)) if spec.shape else ""
                faults.append(Fault(f"{start}{where}", f"finite {spec.dtype}", describe(float(values[row, column]))))
        return faults[:MAX_FAULTS]

    def find_faults(self, value: Any, where: str) -> list[Fault]:
        """Where one observation, as Python read it from JSON, does not fit."""
        if self.plain:
            return find_faults(value, self.specs[0], where)
        return _object_faults(value, self._tree, where)[:MAX_FAULTS]

    def _plant(self, spec: TensorSpec) -> None:
        branch = self._tree
        for key in spec.path[:-1]:
            branch = branch.setdefault(key, {})
        branch[spec.path[-1]] = spec

    def _object_type(self, tree: dict[str, Any], name: str, prefix: str) -> Any:
        """A struct whose fields are numbered, since keys need not be names; and how to get at its leaves."""
        fields, keys = [], {}
        for i, (key, branch) in enumerate(tree.items()):
            field = f"f{i}"
            keys[field] = key
            if isinstance(branch, TensorSpec):
                fields.append((field, row_type(branch)))
                self._getters.append(attrgetter(prefix + field))
            else:
                fields.append((field, self._object_type(branch, f"{name}{i}", f"{prefix}{field}.")))
        return msgspec.defstruct(name, fields, rename=keys, forbid_unknown_fields=True)


def all_finite(array: AnyArray) -> bool:
    """Whether there is neither an infinity nor a NaN."""
    if array.dtype.kind != "f":
        return True
    # The sum of squares is one fast pass; where it is not finite, the values may be all the same, if they are large.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _keys(path: Sequence[str]) -> str:
    return "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in path)


def _label(tree: TensorSpec | dict[str, Any]) -> str:
    if isinstance(tree, TensorSpec):
        return tree.label
    return "{" + ", ".join(f"{json.dumps(key)}: {_label(branch)}" for key, branch in tree.items()) + "}"


def _example(tree: TensorSpec | dict[str, Any]) -> Any:
    if isinstance(tree, TensorSpec):
        return _zeros(tree)
    return {key: _example(branch) for key, branch in tree.items()}


def _zeros(spec: TensorSpec) -> Any:
    return np.zeros(spec.shape, spec.numpy_dtype).tolist()


def _object_faults(value: Any, tree: TensorSpec | dict[str, Any], where: str) -> list[Fault]:
    if isinstance(tree, TensorSpec):
        return find_faults(value, tree, where)
    if not isinstance(value, dict):
        return [Fault(where, f"an object {_label(tree)}", describe(value))]
    faults: list[Fault] = []
    for key, branch in tree.items():
        place = where + _keys([key])
        faults += (
            _object_faults(value[key], branch, place) if key in value else [Fault(place, _label(branch), "nothing")]
        )
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
    for length in reversed(spec.shape):
        kind = Annotated[list[kind], Meta(min_length=length, max_length=length)]
    return kind
