"""A policy's graph with its draws as inputs, and the original to compare it with.

In:      the graph of `action`, whose draws are its own.
Out:     `SampledGraph`: the same with the input `noise`; what its outputs would be, computed by the original graph.
Refuses: draws that no input can replace (ExportRefused).

    original ──▶ any batch ──▶ without exploration ──▶ with noise
       │                                                  │
       └────── run with the same draws, compared ─────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.batch import free_graphs
from rlway_export.graphs.draw_site import DrawSite, drawn
from rlway_export.graphs.draws import find_draws
from rlway_export.graphs.exploration import Exploration, find_exploration, without_exploration
from rlway_export.graphs.frozen import FrozenGraph, Runs, base
from rlway_export.graphs.noise import take_noise

Result = TypeVar("Result")
Feed = Callable[[int], Arrays]  # rows that the policy takes, by the tensors of the graph's inputs
COMPARED_ROWS = (1, 7, 64)


class SampledGraph(NamedTuple):
    """A graph whose last input is `noise`, if it has any draws."""

    graph: FrozenGraph
    sites: list[DrawSite]  # in the order of the noise
    explorations: list[Exploration]
    rows: int | None  # the only number of rows that it takes; None for any

    @classmethod
    def of(cls, original: FrozenGraph, action: list[str], fixed: int | None, feed: Feed, name: str) -> SampledGraph:
        """`action` are the action's tensors; `fixed` is the original's number of rows, None for any."""
        if fixed is None:
            return cls._made(original, action, None, feed, name)
        for free in free_graphs(original, fixed, feed(fixed)):
            found = _tried(partial(cls._made, free, action, None, feed, name))
            if found is not None and _tried(partial(found._acts_as, original, fixed, feed)):
                return found
        return cls._made(original, action, fixed, feed, name)

    @classmethod
    def _made(cls, graph: FrozenGraph, action: list[str], fixed: int | None, feed: Feed, name: str) -> SampledGraph:
        explorations = find_exploration(graph, lambda rows: feed(fixed or rows))
        greedy = without_exploration(graph, explorations) if explorations else graph
        sites = find_draws(greedy, feed, name, fixed)
        if explorations and not sites:
            sites = _greedy_choice(greedy, action, feed, fixed)
        changed = take_noise(greedy, sites, fixed) if sites else greedy
        return cls(changed, sites, explorations, fixed)

    @property
    def noise_size(self) -> int:
        return sum(site.size for site in self.sites)

    def split(self, noise: AnyArray) -> list[AnyArray]:
        """The noise of each draw."""
        return np.split(noise, np.cumsum([site.size for site in self.sites])[:-1], axis=1)

    def _acts_as(self, original: FrozenGraph, fixed: int, feed: Feed) -> bool:
        """Whether it gives for many rows what the original gives for each of them by itself."""
        own, known = Runs(self.graph), Original(original, self, fixed)
        try:
            for rows in COMPARED_ROWS:
                given = feed(rows * fixed)
                noise = np.random.default_rng(rows).standard_normal((rows * fixed, self.noise_size)).astype(np.float32)
                expected = known.run(given, noise, original.outputs)
                extra = {self.graph.inputs[-1]: noise} if self.sites else {}
                found = own.run(self.graph.outputs, given | extra)
                for a, b in zip(expected, found, strict=True):
                    if a.shape != b.shape or not np.allclose(a, b, 1e-4, 1e-5):
                        return False
        finally:
            own.close()
            known.close()
        return True


class Original:
    """The graph as it was saved, given the numbers that it would draw."""

    def __init__(self, graph: FrozenGraph, sampled: SampledGraph, fixed: int | None) -> None:
        self._runs = Runs(graph)
        self._sampled = sampled
        self._fixed = fixed
        self._inputs = graph.inputs

    def run(self, given: Arrays, noise: AnyArray | None, outputs: list[str]) -> list[AnyArray]:
        """The outputs for these inputs, by tensor, and this noise [B, n]. Raises tf.errors.OpError."""
        if self._fixed is None:
            return self._run(given, noise, outputs)
        rows = len(next(iter(given.values())))
        parts = []
        for start in range(0, rows, self._fixed):
            part = slice(start, start + self._fixed)
            some = {name: value[part] for name, value in given.items()}
            parts.append(self._run(some, None if noise is None else noise[part], outputs))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _run(self, given: Arrays, noise: AnyArray | None, outputs: list[str]) -> list[AnyArray]:
        known = dict(given)
        for found in self._sampled.explorations:
            draw = self._runs.graph.get_tensor_by_name(f"{found.draw}:0")
            rows = len(next(iter(given.values())))
            shape = [rows if size is None else size for size in draw.shape.as_list()]
            known[draw.name] = np.full(shape, found.greedy_at, draw.dtype.as_numpy_dtype)
        if self._sampled.sites and noise is not None:
            known |= drawn(self._runs, self._sampled.sites, self._sampled.split(noise), known)
        return self._runs.run(outputs, known)

    def sample(self, given: Arrays, outputs: list[str]) -> list[AnyArray]:
        """The outputs with the graph's own draws."""
        if self._fixed is None:
            return self._runs.run(outputs, given)
        rows = len(next(iter(given.values())))
        parts = [
            self._runs.run(outputs, {name: value[i : i + self._fixed] for name, value in given.items()})
            for i in range(0, rows, self._fixed)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def close(self) -> None:
        self._runs.close()


def _greedy_choice(graph: FrozenGraph, action: list[str], feed: Feed, fixed: int | None) -> list[DrawSite]:
    """The argmax by which an ε-greedy policy chooses its greedy action, if there is exactly one over [B, n]."""
    nodes = graph.nodes
    chosen = [nodes[name] for name in graph.ancestors(action) if nodes[name].op == "ArgMax"]
    if len(chosen) != 1:
        return []
    (node,) = chosen
    runs = Runs(graph)
    try:
        axis = int(runs.run([f"{base(node.input[1])}:0"], {})[0])
        rows = fixed or 3
        (scores,) = runs.run([f"{base(node.input[0])}:0"], feed(rows))
    finally:
        runs.close()
    if scores.ndim != 2 or axis not in (1, -1) or len(scores) != rows:
        return []
    choices = scores.shape[1]
    return [DrawSite(node.name, "gumbel", node.input[0], (1, choices), (-1, choices))]


def _tried(make: Callable[[], Result]) -> Result | None:
    """What is made, or None where this way to free the graph leads nowhere."""
    import tensorflow as tf

    from rlway_client.contract.errors import RlwayError

    try:
        return make()
    except (RlwayError, ValueError, tf.errors.OpError):
        return None
