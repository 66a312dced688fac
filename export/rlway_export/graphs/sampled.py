"""A policy's graph with its draws as inputs, and the original to compare it with.

In:      the graph of `action`, whose draws are its own.
Out:     `SampledGraph`: the same with the input `noise`; what its outputs would be, computed by the original graph.
Refuses: draws that no input can replace (ExportRefused).

    original ──▶ any batch ──▶ without exploration ──▶ with noise
       │                                                  │
       └────── run with the same draws, compared ─────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rlway_client.contract.errors import ExportRefused, RlwayError
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray
from rlway_export.graphs.batch import free_graphs
from rlway_export.graphs.branches import decide
from rlway_export.graphs.draw_site import GREEDY_ONLY, DrawSite, SharedDraw, drawn
from rlway_export.graphs.draws import find_draws, refuse_draws_in_functions
from rlway_export.graphs.exploration import Exploration, find_exploration, without_exploration
from rlway_export.graphs.flat_function import flat_function
from rlway_export.graphs.frozen import FrozenGraph, Runs, base
from rlway_export.graphs.loops import unroll
from rlway_export.graphs.noise import take_noise

Result = TypeVar("Result")
Feed = Callable[[int], Arrays]  # rows that the policy takes, by the tensors of the graph's inputs
COMPARED_ROWS = (1, 7, 64)
CHECKED_ROWS = 3
NOISE = "noise"


class SampledGraph(NamedTuple):
    """A graph whose last input is `noise`, if it has any draws."""

    graph: FrozenGraph
    sites: list[DrawSite]  # in the order of the noise
    explorations: list[Exploration]
    rows: int | None  # the only number of rows that it takes; None for any
    original_rows: int | None = None  # how many rows at a time the original is to act on

    @classmethod
    def of(cls, original: FrozenGraph, action: list[str], fixed: int | None, feed: Feed, name: str) -> SampledGraph:
        """`action` are the action's tensors; `fixed` is the original's number of rows, None for any."""
        refuse_draws_in_functions(original, name)
        decided = decide(original)
        chosen = [decided.outputs[original.outputs.index(tensor)] for tensor in action]
        known = original.nodes.keys()
        if fixed is None:
            try:
                made = cls._made(decided, chosen, None, feed, name, known)
            except SharedDraw:
                freed = cls._freed(decided.of_one_row(), chosen, 1, feed, name, known)
                if freed is None:
                    raise
                return freed
            made._check_rows(feed, name)
            return made
        freed = cls._freed(decided, chosen, fixed, feed, name, known)
        if freed is not None:
            return freed
        if fixed != 1:
            raise ExportRefused(
                f"{name}: takes {fixed} rows at once, and no graph was found that takes more or fewer and acts alike; "
                f"save it with batch_size=None."
            )
        return cls._made(decided, chosen, fixed, feed, name, known)._replace(original_rows=fixed)

    @classmethod
    def _freed(
        cls, original: FrozenGraph, action: list[str], fixed: int, feed: Feed, name: str, known: Collection[str]
    ) -> SampledGraph | None:
        """One that takes any number of rows, and does for each of them what the original does for `fixed` rows."""
        unrolled = unroll(original) or original
        chosen = [unrolled.outputs[original.outputs.index(tensor)] for tensor in action]
        for free in free_graphs(unrolled, fixed, feed(fixed)):
            found = _tried(partial(cls._made, free, chosen, None, feed, name, known))
            if found is not None and _tried(partial(found._acts_as, original, fixed, feed)):
                return found._replace(original_rows=fixed)
        return None

    @classmethod
    def _made(
        cls, graph: FrozenGraph, action: list[str], fixed: int | None, feed: Feed, name: str, known: Collection[str]
    ) -> SampledGraph:
        """`known` are the original's nodes: a choice whose noise the original is given must be one of them."""
        explorations = find_exploration(graph, lambda rows: feed(fixed or rows))
        greedy = without_exploration(graph, explorations) if explorations else graph
        sites = find_draws(greedy, feed, name, fixed)
        if explorations and not sites:
            sites = [site for site in _greedy_choice(greedy, action, feed, fixed) if site.node in known]
        changed = take_noise(greedy, sites, fixed) if sites else greedy
        return cls(changed, sites, explorations, fixed)

    @property
    def noise_size(self) -> int:
        return sum(site.size for site in self.sites)

    def split(self, noise: AnyArray) -> list[AnyArray]:
        """The noise of each draw."""
        return np.split(noise, np.cumsum([site.size for site in self.sites])[:-1], axis=1)

    def _check_rows(self, feed: Feed, name: str) -> None:
        """Refuses a graph in which the numbers drawn for one row change the action of another."""
        if not self.sites:
            return
        runs, given = Runs(self.graph), feed(CHECKED_ROWS)
        given[self.graph.inputs[-1]] = self._some_noise(CHECKED_ROWS)
        try:
            together = runs.run(self.graph.outputs, given)
            for row in range(CHECKED_ROWS):
                alone = runs.run(self.graph.outputs, {name: value[row : row + 1] for name, value in given.items()})
                if not all(_alike(a[row : row + 1], b) for a, b in zip(together, alone, strict=True)):
                    raise ExportRefused(
                        f"{name}: the numbers that it draws for one row of a batch change the action of another; "
                        f"{GREEDY_ONLY}."
                    )
        finally:
            runs.close()

    def _some_noise(self, rows: int) -> AnyArray:
        return np.random.default_rng(rows).standard_normal((rows, self.noise_size)).astype(np.float32)

    def _acts_as(self, original: FrozenGraph, fixed: int, feed: Feed) -> bool:
        """Whether it gives for many rows what the original gives for each of them by itself."""
        own, known = Runs(self.graph), Original(original, self, fixed)
        try:
            for rows in COMPARED_ROWS:
                given = feed(rows * fixed)
                noise = self._some_noise(rows * fixed)
                expected = known.run(given, noise, original.outputs)
                extra = {self.graph.inputs[-1]: noise} if self.sites else {}
                found = own.run(self.graph.outputs, given | extra)
                if not all(_alike(a, b) for a, b in zip(expected, found, strict=True)):
                    return False
        finally:
            own.close()
            known.close()
        return True


class Original:
    """The policy as it was saved, given the numbers that it would draw.

    Where it draws none, it is the function itself that acts.
    """

    def __init__(self, graph: FrozenGraph, sampled: SampledGraph, fixed: int | None) -> None:
        self._runs = Runs(graph)
        self._graph = graph
        self._sampled = sampled
        self._fixed = fixed or sampled.original_rows

    def run(self, given: Arrays, noise: AnyArray | None, outputs: list[str]) -> list[AnyArray]:
        """The outputs for these inputs, by tensor, and this noise [B, n]. Raises tf.errors.OpError."""
        if not self._sampled.sites and not self._sampled.explorations:
            return self.sample(given, outputs)
        given = given if noise is None else given | {NOISE: noise}
        return self._in_parts(given, partial(self._with_noise, outputs))

    def sample(self, given: Arrays, outputs: list[str]) -> list[AnyArray]:
        """The outputs with the policy's own draws."""
        if self._graph.function is None:
            return self._in_parts(given, partial(self._runs.run, outputs))
        if self._fixed is None:
            return self._call(self._function, outputs, given)
        places = self._parts(given)
        found = self._call(self._function_of_parts, outputs, {name: value[places] for name, value in given.items()})
        return [value.reshape(-1, *value.shape[2:])[: rows_of(given)] for value in found]

    def close(self) -> None:
        self._runs.close()

    def _parts(self, given: Arrays) -> AnyArray:  # -> [N, fixed]
        """The places of the rows that run together; the last row fills the last part."""
        assert self._fixed is not None
        rows = rows_of(given)
        return np.minimum(np.arange(-(-rows // self._fixed) * self._fixed), rows - 1).reshape(-1, self._fixed)

    def _in_parts(self, given: Arrays, run: Callable[[Arrays], list[AnyArray]]) -> list[AnyArray]:
        """What `run` gives for all rows; if the policy takes a fixed number of them, for so many after each other."""
        if self._fixed is None:
            return run(given)
        places = self._parts(given)
        parts = [run({name: value[part] for name, value in given.items()}) for part in places]
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return [value[: len(value) * rows_of(given) // places.size] for value in joined]

    def _call(self, function: Any, outputs: list[str], given: Arrays) -> list[AnyArray]:
        values = function(*(given[name] for name in self._graph.inputs))
        found = dict(zip(self._graph.outputs, values, strict=True))
        return [found[name].numpy() for name in outputs]

    @cached_property
    def _function(self) -> Any:
        return flat_function(self._graph.function)

    @cached_property
    def _function_of_parts(self) -> Any:
        """The function for each part of [N, fixed, …], in a loop of TensorFlow's."""
        import tensorflow as tf

        function = self._function
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in function.outputs]

        def run(*parts: Any) -> Any:
            return tf.map_fn(lambda part: function(*part), parts, fn_output_signature=signature)

        return tf.function(run, autograph=False)

    def _with_noise(self, outputs: list[str], given: Arrays) -> list[AnyArray]:
        known = {name: value for name, value in given.items() if name != NOISE}
        for found in self._sampled.explorations:
            uniform = f"{found.draw}:0"
            (value,) = self._runs.run([uniform], known)
            known[uniform] = np.full_like(value, found.greedy_at)
        if self._sampled.sites and NOISE in given:
            known |= drawn(self._runs, self._sampled.sites, self._sampled.split(given[NOISE]), known)
        return self._runs.run(outputs, known)


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


def _alike(a: AnyArray, b: AnyArray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, 1e-4, 1e-5))


def _tried(make: Callable[[], Result]) -> Result | None:
    """What is made, or None where this way to free the graph leads nowhere."""
    import tensorflow as tf

    try:
        return make()
    except (RlwayError, ValueError, tf.errors.OpError):
        return None
