"""A function of TensorFlow as a policy, once its tensors have roles: a SavedModel's signature, or a Keras network.

In:      a function whose tensors have names, their roles.
Out:     `TensorPolicy`: (observation…[, noise][, state…, reset]) → action[, q_values or logits][, next_state…].
Refuses: tensors of unknown size, outputs that do not fit their roles, draws that no input can replace, variables that
         change while it acts (ExportRefused, with the remedy).

The reference of every exported file is the function itself: TensorFlow runs it as it was loaded, and the choice of the
action is numpy's. Only a function that draws is run as a graph, into which the drawn numbers are given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEXT, RESET, Draw, Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.graphs.frozen import FrozenGraph, changed_variable
from rlway_export.graphs.named_function import NamedFunction
from rlway_export.graphs.nests import Leaf
from rlway_export.graphs.sampled import Original, SampledGraph
from rlway_export.reference.policy import SavedPolicy, explained
from rlway_export.reference.roles import Roles
from rlway_export.reference.tensor_interface import (
    NOISE,
    action_specs,
    check_state,
    choose_action,
    contract_names,
    input_spec,
    make_interface,
    with_noise,
)

UNBOUNDED = "{}: does not say the bounds of its observations; pass some that it meets with --observations FILE.npz."


class TensorPolicy(SavedPolicy):
    """Runs a few rows on construction, to learn the shapes. `name` is its name in messages."""

    def __init__(self, named: NamedFunction, roles: Roles, name: str) -> None:
        self.name, self.roles, self.notes = name, roles, [UNBOUNDED.format(name)]
        self._named = named
        self._leaves = {leaf.name: leaf for leaf in named.inputs}
        self._observation, self._state = self._input_specs()
        self._taken = [*roles.observation, *(part.taken for part in roles.state)]
        self._function = named.concrete(self._taken, roles.outputs, roles.fixed)
        self._check()
        sizes = [self._leaves[name].shape or () for name in self._taken]
        self._fixed = next((size[0] for size in sizes if size[0] is not None), None)
        self._original = FrozenGraph.of(self._function)
        tensors = dict(zip(roles.outputs, self._original.outputs, strict=True))
        chosen = [tensors[part.tensor] for part in roles.action]
        self._sampled = SampledGraph.of(self._original, chosen, self._fixed, self._feed, name)
        self.rows = self._sampled.rows
        if self.rows is not None:
            self._note_fixed(self.rows)
        self.interface = self._find_interface()

    @property
    def sampling(self) -> Sampling | None:
        """How it chooses its actions; None if it is greedy."""
        explorations = self._sampled.explorations
        if explorations:
            return Sampling(kind="epsilon-greedy", epsilon=explorations[0].epsilon)
        return Sampling(kind="sampled") if self._sampled.sites else None

    def sample(self, inputs: Arrays) -> Arrays:
        """The answers with its own draws, and with draws for its scores; `inputs` needs no noise."""
        given = dict(zip(self._original.inputs, self._values(inputs, np), strict=True))
        known = with_noise(self.interface, inputs, seed=1)
        return self._results(known, self._as_saved.sample(given, self._original.outputs), np)

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call of the function for the first of these rows."""
        import tensorflow as tf

        rows = self._fixed or 1
        values = self._values({name: array[:1] for name, array in inputs.items()}, np)
        first = [tf.constant(np.repeat(value, rows, axis=0)) for value in values]
        return lambda: [tensor.numpy() for tensor in self._function(*first)]

    @property
    def _model(self) -> Any:
        return self._named.owner

    @cached_property
    def _as_saved(self) -> Original:
        return Original(self._original, self._sampled, self._fixed)

    @property
    def _draws(self) -> bool:
        return bool(self._sampled.sites or self._sampled.explorations)

    def _run(self, rows: list[Any]) -> Arrays:
        inputs = dict(zip((spec.name for spec in self.interface.inputs), rows, strict=True))
        values = self._values(inputs, np)
        with explained():
            if self._draws:
                own = inputs[NOISE][:, : self._sampled.noise_size] if self._sampled.sites else None
                given = dict(zip(self._original.inputs, values, strict=True))
                answers = self._as_saved.run(given, own, self._original.outputs)
            else:
                answers = self._call(values)
        return self._results(inputs, answers, np)

    def _call(self, values: list[AnyArray]) -> list[AnyArray]:
        """The function's own answers, over as many rows at once as it takes."""
        import tensorflow as tf

        rows = len(values[0])
        step = self._fixed or rows
        parts = [
            [tensor.numpy() for tensor in self._function(*(tf.constant(value[i : i + step]) for value in values))]
            for i in range(0, rows, step)
        ]
        return [np.concatenate(column) if column[0].ndim else column[0] for column in zip(*parts, strict=True)]

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        known = dict(zip((spec.name for spec in self.interface.inputs), inputs, strict=True))
        own = [known[NOISE][:, : self._sampled.noise_size]] if self._sampled.sites else []
        return self._results(known, self._sampled.graph.call([*self._values(known, tf), *own]), tf)

    def _values(self, known: dict[str, Any], library: Any) -> list[Any]:
        """The function's inputs from those of the interface, in NumPy or in TensorFlow."""
        specs = dict(zip(self.roles.observation, self._observation, strict=True))
        values = {name: known[spec.name] for name, spec in specs.items()}
        for part, spec in zip(self.roles.state, self._state, strict=True):
            begins = library.reshape(known[RESET.name], [-1, *[1] * len(spec.shape)])
            first = np.zeros(spec.shape) if part.initial is None else part.initial.reshape(spec.shape)
            values[part.taken] = library.where(begins, first.astype(spec.dtype), known[spec.name])
        return [values[name] for name in self._taken]

    def _results(self, known: dict[str, Any], answers: list[Any], library: Any) -> dict[str, Any]:
        """The interface's results from the function's answers, in NumPy or in TensorFlow."""
        given = dict(zip(self.roles.outputs, answers, strict=True))
        found = choose_action(self.roles.action, self.interface, given, known.get(NOISE), library)
        for part, spec in zip(self.roles.state, self._state, strict=True):
            found[NEXT + spec.name] = given[part.given]
        return found

    def _feed(self, rows: int) -> Arrays:
        """Rows that the function may take, by the tensors of the graph's inputs."""
        return dict(zip(self._original.inputs, self._probe(rows), strict=True))

    def _probe(self, rows: int) -> list[AnyArray]:
        generator = np.random.default_rng(rows)
        known = {spec.name: _sample(spec, rows, generator) for spec in (*self._observation, *self._state)}
        return self._values(known | {RESET.name: np.arange(rows) % 2 == 0}, np)

    def _input_specs(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        taken = [part.taken for part in self.roles.state]
        for name in self.roles.fixed:
            shape = self._leaves[name].shape
            if shape is None or None in shape[1:]:
                self._known(self._leaves[name])
        leaves = {name: self._known(self._leaves[name]) for name in [*self.roles.observation, *taken]}
        observation = [
            _input_spec(name, leaves[tensor], path)
            for tensor, name, path in contract_names("observation", self.roles.observation)
        ]
        state = [_input_spec(name, leaves[tensor], ()) for tensor, name, _ in contract_names("state", taken)]
        return observation, state

    def _find_interface(self) -> Interface:
        """The tensors, from what the function takes and from what it answers to a few rows."""
        rows = self._fixed or 3
        with explained():
            given = dict(zip(self.roles.outputs, self._call(self._probe(rows)), strict=True))
        actions, scores = action_specs(self.roles.action, given, rows, self.name)
        for part, spec in zip(self.roles.state, self._state, strict=True):
            check_state(part, (rows, *spec.shape), given[part.given].shape)
        own = [Draw(site.distribution, site.size) for site in self._sampled.sites]
        return make_interface(self._observation, actions, self._state, scores, own)

    def _check(self) -> None:
        changed = changed_variable(self._function)
        if changed is not None:
            raise ExportRefused(
                f"{self.name}: changes a variable while it acts ({changed}); make what it remembers an input and an "
                f"output, and name them with --state."
            )

    def _known(self, leaf: Leaf) -> Leaf:
        if leaf.shape is None or not leaf.shape or None in leaf.shape[1:]:
            shape = "unknown" if leaf.shape is None else [size or "?" for size in leaf.shape]
            raise ExportRefused(
                f"{self.name}: {short_name(leaf.name)}: expected only the batch to be free, got {shape}; save "
                f"it with fixed sizes."
            )
        return leaf

    def _note_fixed(self, rows: int) -> None:
        if rows != 1:
            raise ExportRefused(
                f"{self.name}: takes {rows} rows at once and no other number; save it with a free batch."
            )
        self.notes.append(
            f"{self.name}: was saved for one row at once, and no graph was found that takes more and acts alike; its "
            f"files run one row after the other."
        )


def _input_spec(name: str, leaf: Leaf, path: tuple[str, ...]) -> TensorSpec:
    return input_spec(name, tuple(size or 0 for size in (leaf.shape or ())[1:]), leaf.dtype, path)


def _sample(spec: TensorSpec, rows: int, generator: np.random.Generator) -> AnyArray:
    """Small values: whole numbers may be places in a table."""
    shape = (rows, *spec.shape)
    if spec.numpy_dtype.kind == "f":
        return generator.standard_normal(shape).astype(spec.dtype)
    return generator.integers(0, 1, shape, endpoint=True).astype(spec.dtype)
