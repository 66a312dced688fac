"""One observation in the arrays that a policy's inputs read, which are made once.

In:      an observation, as the environment gives it.
Out:     the same arrays each time, [1, …] by the tensors' names.
Refuses: an observation that does not fit (SpecViolated, as `contract.nesting.read` says it).

Parts that already have the tensor's type and shape are copied, and everything else is read the long way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.meaning import Names
from rlway_client.contract.nesting import Tree, is_tuple, read
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec

SCALARS: dict[str, tuple[type, ...]] = {"f": (float,), "i": (int,), "u": (), "b": (bool,)}  # of Python, by numpy's kind


class _Leaf(NamedTuple):
    """Where a tensor's part lies in the observation, and the array for it."""

    keys: tuple[int | str, ...]
    array: AnyArray  # of the spec's shape
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scalars: tuple[type, ...]  # that fit a tensor of shape (), besides an array


class _Branch(NamedTuple):
    """A dict or a tuple in the observation, which has that many parts."""

    keys: tuple[int | str, ...]
    length: int


class ObservationBuffer:
    """The arrays of one policy."""

    def __init__(self, tree: Tree, names: Names) -> None:
        """`names` are those of the elements, by tensor: an observation may hold values by name, in any order."""
        specs = [spec for spec, _ in _leaves(tree, ())]
        floats = [spec for spec in specs if spec.numpy_dtype.kind == "f"]
        self._tree, self._names = tree, names
        # Numbers of one type lie in one array, so that a single product finds those that are not finite.
        self._numbers: list[FloatArray] = []
        views: dict[str, AnyArray] = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
        for dtype in sorted({spec.dtype for spec in floats}):
            alike = [spec for spec in floats if spec.dtype == dtype]
            numbers = np.zeros(sum(spec.size for spec in alike), dtype)
            ends = np.cumsum([spec.size for spec in alike])
            for spec, end in zip(alike, ends, strict=True):
                views[spec.name] = numbers[end - spec.size : end].reshape(spec.shape)
            self._numbers.append(numbers)
        self._are_finite: Callable[[], bool] = self._all_finite
        if len(self._numbers) == 1:  # nearly always, and then a third quicker
            (only,) = self._numbers
            self._are_finite = lambda: math.isfinite(only.dot(only))
        self.arrays: Arrays = {name: view[None] for name, view in views.items()}
        self._looks_up = any(spec.is_lookup for spec in specs)
        self._branches = [*_branches(tree, ())]
        self._leaves = [
            _Leaf(
                keys,
                views[spec.name],
                np.dtype(spec.dtype),
                spec.shape,
                (np.dtype(spec.dtype).type, *(() if spec.shape else SCALARS[spec.numpy_dtype.kind])),
            )
            for spec, keys in _leaves(tree, ())
        ]

    def fill(self, observation: Any) -> Arrays:  # -> [1, …] by name
        """The observation's arrays. Raises SpecViolated; the arrays then hold anything."""
        if self._looks_up or not self._copy(observation):
            for name, row in read(observation, self._tree, self._names).items():
                self.arrays[name][...] = row
        return self.arrays

    def _all_finite(self) -> bool:
        return all(math.isfinite(numbers.dot(numbers)) for numbers in self._numbers)

    def _copy(self, observation: Any) -> bool:
        """Whether every part could be copied as it is, and is finite."""
        try:
            for keys, length in self._branches:
                part = observation
                for key in keys:
                    part = part[key]
                if part.__class__ not in (dict, tuple) or len(part) != length:
                    return False
            for keys, array, dtype, shape, scalars in self._leaves:
                part = observation
                for key in keys:
                    part = part[key]
                if part.__class__ is np.ndarray:
                    # The types that numpy has are the same object nearly always.
                    if part.shape != shape or (part.dtype is not dtype and part.dtype != dtype):
                        return False
                elif shape or part.__class__ not in scalars:
                    return False
                array[...] = part
        except (KeyError, IndexError, TypeError, OverflowError):
            return False
        return self._are_finite()


def _leaves(tree: Tree, keys: tuple[int | str, ...]) -> Iterator[tuple[TensorSpec, tuple[int | str, ...]]]:
    if isinstance(tree, TensorSpec):
        yield tree, keys
        return
    for key, branch in _parts(tree):
        yield from _leaves(branch, (*keys, key))


def _branches(tree: Tree, keys: tuple[int | str, ...]) -> Iterator[_Branch]:
    if isinstance(tree, TensorSpec):
        return
    yield _Branch(keys, len(tree))
    for key, branch in _parts(tree):
        yield from _branches(branch, (*keys, key))


def _parts(tree: dict[str, Any]) -> list[tuple[int | str, Tree]]:
    """The parts, by their index where the observation is a tuple."""
    in_tuple = is_tuple(tree)
    return [(int(key) if in_tuple else key, branch) for key, branch in tree.items()]
