"""The bounds within which each value of an observation leads only to places inside their tables.

In:      an `IndexGraph`, the specs of the inputs on which its places depend, rows of all inputs to start from.
Out:     `TableSearch`: the lowest and the highest value of each element, found by trying.
Refuses: bounds that cannot be found by changing one element at a time (NotFollowed).

An element moves away from its start by 1, 2, 4, … until a place leaves its table, then the step is halved. The search
always starts next to a known good value, so arithmetic that wraps around at 256 is not mistaken for a limit. Where no
place depends on two elements, one row tries all elements at once. Otherwise each element takes a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlway_client.contract.parity import Arrays, spread
from rlway_client.contract.specs import AnyArray, IntArray, TensorSpec
from rlway_export.checks.index_graph import ANY, IndexGraph, NotFollowed

BoolArray = NDArray[np.bool_]

FURTHEST = 2**31  # no table has as many rows
MOST_TOGETHER = 512  # elements that share places; each then takes a row of its own
CHUNK_BYTES = 2**24  # of rows that are run at once
TRIED = 512  # rows within the bounds, to confirm them
OTHERS = 8  # further values of each element to find what depends on it, besides its neighbours and its limits
FEW = 16  # rows of an observation that is too large for more
STARTS = (0, 1, *(sign * 2**power for power in range(1, 20) for sign in (1, -1)))


class Bounds(NamedTuple):
    """Of each element, inclusive; infinite where it is unbounded."""

    low: AnyArray  # [E]
    high: AnyArray

    @classmethod
    def free(cls, specs: list[TensorSpec]) -> Bounds:
        """No bounds at all."""
        return cls(*(np.full(sum(spec.size for spec in specs), bound) for bound in (-np.inf, np.inf)))

    def within(self, others: Bounds) -> Bounds:
        """The narrower of both."""
        return Bounds(np.maximum(self.low, others.low), np.minimum(self.high, others.high))

    def around(self, others: Bounds) -> Bounds:
        """Widened to include the others, as far as those are finite."""
        return Bounds(
            np.where(np.isfinite(others.low), np.minimum(self.low, others.low), self.low),
            np.where(np.isfinite(others.high), np.maximum(self.high, others.high), self.high),
        )


class TableSearch:
    """Searches for the bounds of all elements of the specs: one spec after the other, each in row-major order."""

    def __init__(self, graph: IndexGraph, specs: list[TensorSpec], rows: Arrays) -> None:
        self._graph = graph
        self._specs = specs
        self._ends = np.cumsum([0, *(spec.size for spec in specs)])
        limits = [_limits(spec) for spec in specs]
        self._lowest, self._highest = (
            np.repeat([limit[side] for limit in limits], [spec.size for spec in specs]) for side in (0, 1)
        )
        self._sizes, self._fails = graph.tables(rows)
        places = graph.places(rows)
        _check_rows(graph, rows, places)
        inside = self._inside(places)
        self._good_rows = {name: array[inside[:, self._fails].all(axis=1)] for name, array in rows.items()}
        self._values = self._joined(rows)
        best = int(inside.sum(axis=1).argmax())
        self._base = {name: array[best : best + 1] for name, array in rows.items()}
        self._depends = self._find_dependence(places[best])
        if (self._depends & (self._sizes == ANY)).any():
            raise NotFollowed("a place in a table of unknown size")
        self._independent = int(self._depends.sum(axis=0).max(initial=0)) <= 1
        if not self._independent and int(self._depends.any(axis=1).sum()) > MOST_TOGETHER:
            raise NotFollowed("too many values make one place")

    def bounds(self, fails: bool) -> Bounds:
        """The bounds for the look-ups that fail outside of their tables, or for those that do not."""
        places = self._fails == fails
        elements = np.flatnonzero((self._depends & places).any(axis=1))
        bounds = Bounds.free(self._specs)
        if len(elements):

            def good(values: IntArray) -> BoolArray:
                return self._good(elements, values, places)

            start = self._start(elements, good)
            for bound, limits in zip(bounds, (self._lowest, self._highest), strict=True):
                reached = _reach(good, start, limits[elements])
                bound[elements] = np.where(reached == limits[elements], bound[elements], reached)
        return bounds

    def holds(self, bounds: Bounds) -> bool:
        """Whether no look-up fails within the bounds, tried with many sampled rows and with corners."""
        elements, generator = np.flatnonzero(self._depends.any(axis=1)), np.random.default_rng(0)
        low, high = (self._whole(bound)[elements] for bound in bounds)
        values = generator.integers(low, high, (TRIED, len(elements)), endpoint=True)
        corners = np.where(generator.random(values.shape) < 0.5, low, high)
        values[::2] = corners[::2]
        for some in self._chunks(values):
            rows = np.repeat(np.arange(len(some)), len(elements))
            places = self._places(len(some), rows, np.tile(elements, len(some)), some.ravel())
            if not self._inside(places)[:, self._fails].all():
                return False
        return True

    def covers(self, bounds: Bounds) -> bool:
        """Whether the given rows whose look-ups succeed lie within the bounds."""
        values = self._joined(self._good_rows)
        return bool(((values >= bounds.low) & (values <= bounds.high)).all())

    def _joined(self, rows: Arrays) -> AnyArray:  # -> [B, E]
        return np.concatenate(
            [rows[spec.name].reshape(-1, spec.size) for spec in self._specs], axis=1, dtype=np.float64
        )

    def _chunks(self, array: AnyArray) -> Iterator[AnyArray]:
        """Parts, each of as many rows as are run at once."""
        row_bytes = sum(array.nbytes for array in self._base.values()) + 9 * len(self._sizes)
        step = max(1, CHUNK_BYTES // row_bytes)
        return (array[start : start + step] for start in range(0, len(array), step))

    def _inside(self, places: IntArray) -> BoolArray:
        inside: BoolArray = (places >= 0) & (places < self._sizes)
        return inside

    def _places(self, count: int, rows: IntArray, elements: IntArray, values: IntArray) -> IntArray:  # -> [count, P]
        """The places of `count` copies of the base, with `values[i]` for `elements[i]` in row `rows[i]`."""
        arrays = {name: np.repeat(array, count, axis=0) for name, array in self._base.items()}
        for spec, start, end in zip(self._specs, self._ends[:-1], self._ends[1:], strict=True):
            chosen = (elements >= start) & (elements < end)
            flat = arrays[spec.name].reshape(count, -1)
            flat[rows[chosen], elements[chosen] - start] = values[chosen].astype(spec.numpy_dtype)
            arrays[spec.name] = flat.reshape(-1, *spec.shape)
        return self._graph.places(arrays)

    def _find_dependence(self, places: IntArray) -> BoolArray:  # [P] -> [E, P]
        """Which places depend on which element: another value of it changes them."""
        base = self._whole(self._joined(self._base)[0])
        depends = np.zeros((len(base), len(places)), np.bool_)
        others = [self._whole(values) for values in spread(self._values, OTHERS)]
        for probe in (base - 1, base + 1, self._lowest, self._highest, *others):
            values = np.clip(probe, self._lowest, self._highest)
            for some in self._chunks(np.arange(len(base))):
                depends[some] |= self._places(len(some), np.arange(len(some)), some, values[some]) != places
        return depends

    def _good(self, elements: IntArray, values: IntArray, places: BoolArray) -> BoolArray:
        """Whether each element, changed by itself, may have its value, judged by these places."""
        if self._independent:
            inside = self._inside(self._places(1, np.zeros_like(elements), elements, values))
            return np.asarray(~(self._depends[elements] & places & ~inside).any(axis=1))
        good = []
        for some in self._chunks(np.arange(len(elements))):
            inside = self._inside(self._places(len(some), np.arange(len(some)), elements[some], values[some]))
            good.append(~(self._depends[elements[some]] & places & ~inside).any(axis=1))
        return np.concatenate(good)

    def _start(self, elements: IntArray, good: Callable[[IntArray], BoolArray]) -> IntArray:
        """A good value of each element: the base's, or any that can be found."""
        low, high = self._lowest[elements], self._highest[elements]
        start = self._whole(self._joined(self._base)[0])[elements]
        found = good(start)
        others = [*(self._whole(row)[elements] for row in self._values), *(np.full_like(start, n) for n in STARTS)]
        for values in others:
            if found.all():
                return start
            values = np.clip(values, low, high)
            start = np.where(found, start, values)
            found |= good(start)
        raise NotFollowed("no value whose place is in its table")

    def _whole(self, values: AnyArray) -> IntArray:
        """The nearest whole numbers within the limits."""
        whole: IntArray = np.rint(np.clip(values, self._lowest, self._highest)).astype(np.int64)
        return whole


def never_leaves(graph: IndexGraph, specs: list[TensorSpec], rows: Arrays) -> bool:
    """Whether no place leaves its table for many rows: the only check for very large observations."""
    generator = np.random.default_rng(0)
    tried = {name: np.repeat(array[:1], FEW, axis=0) for name, array in rows.items()}
    for spec in specs:
        low, high = _limits(spec)
        values = generator.integers(low, high, (FEW, *spec.shape), endpoint=True)
        values[0], values[1] = low, high
        values[2::2] = np.where(values[2::2] % 2, low, high)
        tried[spec.name] = values.astype(spec.numpy_dtype)
    places, (sizes, _) = graph.places(tried), graph.tables(rows)
    return bool(((places >= 0) & (places < sizes)).all())


def _limits(spec: TensorSpec) -> tuple[int, int]:
    """The lowest and the highest whole number to try."""
    dtype = spec.numpy_dtype
    if dtype.kind == "b":
        return 0, 1
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return max(int(info.min), -FURTHEST), min(int(info.max), FURTHEST)


def _check_rows(graph: IndexGraph, rows: Arrays, places: IntArray) -> None:
    """The places of several rows have to be those of each row by itself."""
    for i in {0, len(places) - 1}:
        alone = graph.places({name: array[i : i + 1] for name, array in rows.items()})
        if not np.array_equal(alone[0], places[i]):
            raise NotFollowed("places that depend on the batch")


def _reach(good: Callable[[IntArray], BoolArray], start: IntArray, limit: IntArray) -> IntArray:
    """How far each value can go from a good start towards a limit, which it may reach."""
    sign = np.where(limit < start, -1, 1)
    near, beyond, step = start.copy(), limit + sign, np.ones_like(start)
    turned = np.zeros(len(start), np.bool_)  # after the first bad value, steps become smaller
    while (np.abs(beyond - near) > 1).any():
        room = np.abs(beyond - near) - 1
        probe = near + sign * np.where(turned, (room + 1) // 2, np.minimum(step, room))
        fine = good(probe)
        near, beyond = np.where(fine, probe, near), np.where(fine, beyond, probe)
        turned |= ~fine
        step = np.minimum(2 * step, FURTHEST)
    return near
