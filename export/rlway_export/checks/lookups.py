"""Which values of an observation a policy looks up in a table, and the bounds of what the tables hold.

In:      a policy, its observations.
Out:     `LookupFindings`: the observation's specs with `lookup_minimum` and `lookup_maximum`; notes for the user.
Refuses: given observations that the policy cannot look up (UsageError names the first of them).

An embedding of ten rows takes 0 to 9. The other bounds of an observation are those of its training, and a robot may
exceed them. A place outside of a table has no meaning, and on the CPU it fails the whole batch. A value that the graph
itself limits (Clip, Mod, Where) needs no bounds. A one-hot encoding does not fail, it gives zeros: there the bounds
also admit what the policy was trained with, such as −1 for "nothing".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from rlway_client.contract.errors import UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays, rows_of, spread
from rlway_client.contract.specs import AnyArray, TensorSpec, find_lookup_faults, make_spec, outside_lookup
from rlway_client.contract.time_step import neutral_time_step
from rlway_export.checks.index_graph import IndexGraph, NotFollowed
from rlway_export.checks.observations import Observations
from rlway_export.checks.table_search import Bounds, TableSearch, never_leaves
from rlway_export.reference.policy import SavedPolicy

ROWS = 256  # to start from
MOST_ELEMENTS = 4096


class LookupFindings(NamedTuple):
    """What was found of a policy's look-ups."""

    specs: list[TensorSpec]  # of the observation
    notes: tuple[str, ...] = ()

    def fit(self, observations: Observations, given: Path | None) -> Observations:
        """The observations. Samples are taken again, within the tables. `given` is the file that they came from."""
        looked_up = [spec for spec in self.specs if spec.is_lookup]
        if looked_up and observations.origin == "sampled":
            narrow = Interface([_narrowed(spec) for spec in self.specs], looked_up[:1], None, [], [])
            return observations._replace(arrays=Observations.find(narrow, None, None).arrays)
        if given is not None:
            for spec in looked_up:
                _check_given(given, spec, observations.arrays[spec.name])
        return observations


def find_lookups(policy: SavedPolicy, observations: Observations) -> LookupFindings:
    """Tries the policy's graph with values around those of the observations."""
    specs, graph = policy.interface.observation, IndexGraph(policy)
    leaves = [spec for spec in specs if spec.name in graph.leaves]
    if not leaves:
        return LookupFindings(specs)
    rows = {name: spread(array, ROWS) for name, array in observations.arrays.items()}
    rows |= neutral_time_step(policy.interface.time_step, rows_of(rows))
    for spec in policy.interface.inputs:  # zeros for the noise and the state
        rows.setdefault(spec.name, np.zeros((rows_of(rows), *spec.shape), spec.numpy_dtype))
    declared = _declared_bounds(leaves)
    observed = declared if observations.origin == "sampled" else _extremes(leaves, observations.arrays)
    try:
        bounds, notes = _search(graph, leaves, rows, declared, observed)
    except NotFollowed:
        bounds, notes = declared.around(observed), tuple(map(_not_followed, leaves))
    ends = np.cumsum([spec.size for spec in leaves])[:-1]
    parts = zip(*(np.split(bound, ends) for bound in bounds), strict=True)
    found = {spec.name: _with_bounds(spec, *part) for spec, part in zip(leaves, parts, strict=True)}
    return LookupFindings([found.get(spec.name, spec) for spec in specs], notes)


def _search(
    graph: IndexGraph, leaves: list[TensorSpec], rows: Arrays, declared: Bounds, observed: Bounds
) -> tuple[Bounds, tuple[str, ...]]:
    """Bounds of what can be looked up; `declared` are the specs' bounds, `observed` those of the observations."""
    if sum(spec.size for spec in leaves) > MOST_ELEMENTS:
        if never_leaves(graph, leaves, rows):
            return Bounds.free(leaves), ()
        raise NotFollowed("too many values")
    search = TableSearch(graph, leaves, rows)
    notes: tuple[str, ...] = ()
    bounds = search.bounds(fails=True)
    if not search.covers(bounds):
        raise NotFollowed("values with gaps, or with fractions")
    if not search.holds(bounds):
        bounds, notes = bounds.within(declared.around(observed)), tuple(map(_not_followed, leaves))
        if not search.holds(bounds):
            raise NotFollowed("values that limit each other")
    return bounds.within(search.bounds(fails=False).around(declared).around(observed)), notes


def _declared_bounds(specs: list[TensorSpec]) -> Bounds:
    """The specs' bounds, for integers only, and without bounds that are merely the dtype's limits."""
    pairs = []
    for spec in specs:
        low, high = (bound.ravel() for bound in spec.bounds())
        if spec.numpy_dtype.kind in "iu":
            limits = np.iinfo(spec.numpy_dtype)
            low, high = np.where(low <= limits.min, -np.inf, low), np.where(high >= limits.max, np.inf, high)
        else:
            low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
        pairs.append((low, high))
    return Bounds(*(np.concatenate(side) for side in zip(*pairs, strict=True)))


def _extremes(specs: list[TensorSpec], rows: Arrays) -> Bounds:
    """The lowest and the highest of each element, as whole numbers."""
    values = [rows[spec.name].reshape(-1, spec.size).astype(np.float64) for spec in specs]
    low, high = (np.concatenate([end(part, axis=0) for part in values]) for end in (np.min, np.max))
    return Bounds(np.floor(low), np.ceil(high))


def _with_bounds(spec: TensorSpec, low: AnyArray, high: AnyArray) -> TensorSpec:
    if spec.numpy_dtype.kind == "u":
        low = np.where(np.isinf(low) & np.isfinite(high), 0, low)  # so that a reader sees both ends
    return replace(spec, lookup_minimum=_compact(low), lookup_maximum=_compact(high))


def _compact(bound: AnyArray) -> Any:
    """One number where all elements share it, else one per element; None for an unbounded one."""
    values = [int(value) if np.isfinite(value) else None for value in bound]
    return values[0] if len(set(values)) == 1 else values


def _narrowed(spec: TensorSpec) -> TensorSpec:
    """The spec with its bounds narrowed to those of the tables."""
    (low, high), (least, most) = spec.bounds(), spec.lookup_bounds()
    return make_spec(spec.name, spec.shape, spec.dtype, np.maximum(low, least), np.minimum(high, most), spec.path)


def _not_followed(spec: TensorSpec) -> str:
    what = f"{spec.name}: it could not be told which of its values the policy can look up in its tables"
    low, high = _declared_bounds([spec])
    if np.isinf(low).all() and np.isinf(high).all():
        return f"{what}; one that is in none makes the request fail."
    return f"{what}, so none outside of its bounds is taken."


def _check_given(path: Path, spec: TensorSpec, rows: AnyArray) -> None:
    outside = np.flatnonzero(outside_lookup(rows, spec).reshape(len(rows), -1).any(axis=1))
    if len(outside):
        fault = find_lookup_faults(rows[outside[0]].astype(object), spec, spec.name)[0]
        raise UsageError(f"{path}: row {outside[0]}: {fault.sentence}.")
