"""One observation in the arrays that a policy's inputs read, which are made once.

In:      an observation, as the environment gives it.
Out:     the same arrays each time, [1, …] by the tensors' names.
Refuses: an observation that does not fit (SpecViolated, as `contract.nesting.read` says it).

Parts that already have the tensor's type and shape are copied (`quick_copy`), and everything else is read the long way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rlway_client.contract.meaning import Names
from rlway_client.contract.nesting import Tree, read
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_client.local.quick_copy import Copy, quick_copy


class ObservationBuffer:
    """The arrays of one policy."""

    def __init__(self, tree: Tree, names: Names) -> None:
        """`names` are those of the elements, by tensor: an observation may hold values by name, in any order."""
        specs = [*_specs(tree)]
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
        self.arrays: Arrays = {name: view[None] for name, view in views.items()}
        # A value outside its lookup table is found only the long way.
        looks_up = any(spec.is_lookup for spec in specs)
        self._copy: Copy = _never if looks_up else quick_copy(tree, views, self._numbers)

    def fill(self, observation: Any) -> Arrays:  # -> [1, …] by name
        """The observation's arrays. Raises SpecViolated; the arrays then hold anything."""
        if not self._copy(observation):
            for name, row in read(observation, self._tree, self._names).items():
                self.arrays[name][...] = row
        return self.arrays


def _never(_observation: Any) -> bool:
    return False


def _specs(tree: Tree) -> Iterator[TensorSpec]:
    if isinstance(tree, TensorSpec):
        yield tree
    else:
        for branch in tree.values():
            yield from _specs(branch)
