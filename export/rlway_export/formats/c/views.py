"""Arrays in C seen through shapes and strides, and loops over them.

In:      views of arrays.
Out:     nested for loops of C99, as few and as long as the views allow.

A view costs nothing: a transposed, sliced or repeated array is the same memory, read in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

INDICES = "ijklmnpq"


class View(NamedTuple):
    """Elements of a C array: the offset of the first, and the stride along each axis."""

    array: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def whole(cls, array: str, shape: Sequence[int]) -> View:
        """All of an array, in row-major order."""
        return cls(array, tuple(shape), row_major(shape))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_row_major(self) -> bool:
        """Whether its elements are contiguous, in row-major order."""
        return _significant(self.shape, self.strides) == _significant(self.shape, row_major(self.shape))

    @property
    def is_dense(self) -> bool:
        """Whether its elements are contiguous, with the axes in any order."""
        expected = 1
        for stride, n in sorted(_significant(self.shape, self.strides)):
            if stride != expected:
                return False
            expected *= n
        return True

    def transpose(self, order: Sequence[int]) -> View:
        return self._replace(
            shape=tuple(self.shape[axis] for axis in order), strides=tuple(self.strides[axis] for axis in order)
        )

    def slice(self, axis: int, part: slice) -> View:
        """Part of one axis."""
        start, stop, step = part.indices(self.shape[axis])
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = len(range(start, stop, step))
        strides[axis] *= step
        return self._replace(
            shape=tuple(shape), strides=tuple(strides), offset=self.offset + start * self.strides[axis]
        )

    def broadcast(self, shape: Sequence[int]) -> View:
        """Repeated to the shape, as numpy does."""
        missing = len(shape) - len(self.shape)
        own = (1,) * missing + self.shape
        strides = (0,) * missing + self.strides
        repeated = tuple(0 if n == 1 else stride for n, stride in zip(own, strides, strict=True))
        return self._replace(shape=tuple(shape), strides=repeated)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in another shape; None where that needs a copy."""
        if self.is_row_major:
            return self._replace(shape=tuple(shape), strides=row_major(shape))
        if [n for n in self.shape if n != 1] != [n for n in shape if n != 1]:
            return None
        strides = iter([stride for stride, _ in _significant(self.shape, self.strides)])
        return self._replace(shape=tuple(shape), strides=tuple(0 if n == 1 else next(strides) for n in shape))

    def position(self, indices: Sequence[str]) -> str:
        """A C expression for an element's index in the array, from its index along each axis."""
        steps = zip(indices, self.strides, strict=True)
        terms = [times(index, stride) for index, stride in steps if stride and index]
        return sum_of(*terms, self.offset)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array whose last axis is contiguous."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def nested_loops(views: Sequence[View], body: Callable[[list[str]], list[str]]) -> list[str]:
    """Loops over views of one shape; `body` makes the statements from the position in each of them.

    The innermost loop follows the first view's memory. Axes that are contiguous in all views become one loop.
    """
    axes = [axis for axis, n in enumerate(views[0].shape) if n != 1]
    axes.sort(key=lambda axis: (views[0].strides[axis] == 0, -abs(views[0].strides[axis])))
    loops: list[tuple[int, list[int]]] = []  # the count, and the strides of all views
    for axis in axes:
        n, strides = views[0].shape[axis], [view.strides[axis] for view in views]
        if loops and loops[-1][1] == [stride * n for stride in strides]:
            loops[-1] = (loops[-1][0] * n, strides)
        else:
            loops.append((n, strides))
    indices = list(INDICES[: len(loops)])
    counts = [n for n, _ in loops]
    flat = [
        view._replace(shape=tuple(counts), strides=tuple(strides[i] for _, strides in loops))
        for i, view in enumerate(views)
    ]
    lines = body([view.position(indices) for view in flat])
    for index, n in reversed(list(zip(indices, counts, strict=True))):
        lines = loop(index, n, lines)
    return lines


def sum_of(*terms: str | int) -> str:
    """A C expression, without the terms that are zero."""
    return " + ".join(str(term) for term in terms if term not in ("", "0", 0)) or "0"


def times(index: str, factor: int) -> str:
    """A C expression for an index, a name or an element times a factor."""
    return index if factor == 1 else f"{index} * {factor}"


def block(lines: Sequence[str]) -> list[str]:
    """The lines in a scope of their own."""
    return ["{", *(f"    {line}" for line in lines), "}"]


def loop(index: str, n: int, lines: Sequence[str], step: int = 1) -> list[str]:
    """A loop around the lines, with an index from 0 to below `n`."""
    advance = f"{index}++" if step == 1 else f"{index} += {step}"
    first, *rest = block(lines)
    return [f"for (int {index} = 0; {index} < {n}; {advance}) {first}", *rest]


def _significant(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Strides and sizes of the axes along which there is more than one element."""
    return [(stride, n) for stride, n in zip(strides, shape, strict=True) if n != 1]
