"""A policy as a SavedModel: the reference that every exported file is compared with.

In:      a folder with a SavedModel, its inputs and outputs.
Out:     `SavedPolicy`: its function over any batch, to be run or to be converted.
Refuses: a SavedModel that cannot be loaded (RunInvalid); one without the function, observations that it cannot act on
         (ExportRefused).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.quote import named, reason
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.exploration import draw_noise, sampling_explore
from rlway_client.contract.interface import NEUTRAL, NEXT, Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays, rows_of
from rlway_export.graphs.action_function import ActionFunction
from rlway_export.graphs.frozen import FrozenGraph, call_of, freeze, has_loops
from rlway_export.graphs.loops import unroll
from rlway_export.graphs.saved_model import SavedModel
from rlway_export.reference.nest import leaves

CHUNK_ROWS = 256  # more rows of images at once would fill the machine's memory
WHERE = re.compile(r"Graph execution error|Detected at node|<stack traces|\[\[\{\{node|File ")  # says where, not what


class SavedPolicy(ABC):
    """A function from observation, noise and policy state to action and next state; `interface` has its tensors."""

    interface: Interface
    notes: list[str]  # what a user should know about the SavedModel, a sentence each
    rows: int | None = None  # the only number of rows that its graph takes; None for any

    @property
    def sampling(self) -> Sampling | None:
        """How it chose its actions before its draws became inputs; None if it was greedy."""
        return None

    def signature(self, batch: int | None) -> list[Any]:
        """The TensorSpecs of the inputs over `batch` rows (None: any number)."""
        import tensorflow as tf

        return [tf.TensorSpec([batch, *spec.shape], spec.dtype, name=spec.name) for spec in self.interface.inputs]

    def module(self, batch: int | None) -> Any:
        """A tf.Module whose one function, `act`, takes `batch` rows."""
        import tensorflow as tf

        module = tf.Module()
        module.policy = self._model  # keeps the weights alive
        module.act = tf.function(self._act, input_signature=self.signature(batch), autograph=False)
        return module

    def convertible(self, batch: int | None) -> Any:
        """The module for converters: without the loops of Keras' recurrent layers, which run once."""
        import tensorflow as tf

        if self._unrolled is None:
            return self._traced if batch in (None, self.rows) else self.module(batch)
        unrolled, names = self._unrolled, sorted(spec.name for spec in self.interface.results)  # as TensorFlow has them

        def act(*inputs: Any) -> dict[str, Any]:
            return dict(zip(names, unrolled.call(list(inputs)), strict=True))

        module = tf.Module()
        module.act = tf.function(act, input_signature=self.signature(batch or self.rows), autograph=False)
        return module

    def frozen(self) -> Any:
        """The function over any batch in one graph, its weights constants."""
        return freeze(self.convertible(batch=None).act.get_concrete_function())

    @cached_property
    def _unrolled(self) -> FrozenGraph | None:
        function = self._traced.act.get_concrete_function()
        return unroll(FrozenGraph.of(function)) if has_loops(function) else None

    def run_act(self, inputs: Arrays) -> Arrays:
        """The SavedModel's answers: arrays by output name."""
        parts = []
        for start in range(0, rows_of(inputs), CHUNK_ROWS):
            chunk = [inputs[spec.name][start : start + CHUNK_ROWS] for spec in self.interface.inputs]
            parts.append(self._run(chunk))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def sample(self, inputs: Arrays) -> Arrays:
        """The answers with noise of the policy's own distribution; the noise among the inputs is ignored."""
        draws, rows = self.interface.noise_draws, rows_of(inputs)
        noise = draw_noise(sampling_explore(draws), rows, draws, np.random.default_rng()) if draws else None
        return self.run_act(inputs if noise is None else inputs | {"noise": noise})

    def _run(self, rows: list[Any]) -> Arrays:
        with explained():
            return {name: value.numpy() for name, value in self._traced.act(*rows).items()}

    @cached_property
    def _traced(self) -> Any:
        return self.module(batch=self.rows)

    @abstractmethod
    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call of the SavedModel's own `action` for the first of these rows, to be timed."""

    @property
    @abstractmethod
    def _model(self) -> Any:
        """The loaded SavedModel."""

    @abstractmethod
    def _act(self, *inputs: Any) -> dict[str, Any]:
        """Maps tensors in the order of the interface's inputs to its results by name."""


class ActPolicy(SavedPolicy):
    """A SavedModel of `rlway train`, which has a function of observation, noise and state.

    `name` is its name in messages.
    """

    def __init__(self, saved_model: Path, interface: Interface, name: str) -> None:
        self._name = name
        self.interface = interface
        self.notes = []
        self._saved = SavedModel.open(saved_model, name)
        self._loaded = self._saved.loaded
        if not hasattr(self._loaded, "act"):
            raise ExportRefused(f"{self._name}: has no `act` function, so it was not saved by `rlway train`.")
        self._taken, _ = self._loaded.act.concrete_functions[0].structured_input_signature
        self._order = self._find_order()
        self._check_inputs()

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        return timed_action(ActionFunction.of(self._saved, self._name), self.interface, inputs)

    @property
    def _model(self) -> Any:
        return self._loaded

    def _find_order(self) -> list[int]:
        """The interface's input for each leaf of the SavedModel's `act`: TensorFlow sorts the keys."""
        declared = [spec.path for spec in self.interface.observation]
        taken = [path for path, _ in leaves(self._taken[0])]
        if sorted(declared) != sorted(taken):
            expected, found = (named(["/".join(path) or "none" for path in paths]) for paths in (declared, taken))
            raise RunInvalid(
                f"{self._name}: run.json tells of the keys {expected}; the SavedModel's `act` takes {found}."
            )
        observed = [declared.index(path) for path in taken]
        return [*observed, *range(len(observed), len(self.interface.inputs))]

    def _check_inputs(self) -> None:
        import tensorflow as tf

        taken = [list(spec.shape[1:]) for spec in tf.nest.flatten(self._taken)]
        declared = [list(self.interface.inputs[place].shape) for place in self._order]
        if taken != declared:
            expected, found = (named(list(map(str, shapes))) for shapes in (declared, taken))
            raise RunInvalid(
                f"{self._name}: run.json tells of inputs with the shapes {expected}; the SavedModel's `act` takes "
                f"{found}."
            )

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        # Observations are float32 in the network, whatever they are in the environment.
        specs = zip(self._order, tf.nest.flatten(self._taken), strict=True)
        cast = [tf.cast(inputs[place], spec.dtype) for place, spec in specs]
        outputs = self._loaded.act(*tf.nest.pack_sequence_as(self._taken, cast))
        state = {spec.name for spec in self.interface.state}
        return {NEXT + name if name in state else name: value for name, value in outputs.items()}


def timed_action(action: ActionFunction, interface: Interface, inputs: Arrays) -> Callable[[], object]:
    """A call of a SavedModel's `action` for the first row of the inputs, in the middle of an episode."""
    rows = {spec.path: inputs[spec.name][:1] for spec in interface.observation}
    values = []
    for port in action.inputs:
        shape = [1, *[size or 1 for size in (port.leaf.shape or ())[1:]]]
        value = rows[port.leaf.path] if port.role == "observation" else np.full(shape, NEUTRAL.get(port.role, 0))
        values.append(value.astype(port.leaf.dtype))
    return call_of(action.function, values)


@contextmanager
def explained() -> Iterator[None]:
    """A block that runs a SavedModel; what TensorFlow raises in it becomes one sentence."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:  # a look-up outside of its table, or an assertion
        message = "\n".join(line for line in error.message.splitlines() if not WHERE.match(line.strip()))
        raise ExportRefused(
            f"the SavedModel cannot act on the observations that it is compared over: {reason(message)}; give some "
            f"that it takes, with --observations FILE.npz."
        ) from error


def import_named(module: str) -> None:
    """Imports a module that registers types which SavedModels may refer to."""
    try:
        import_module(module)
    except Exception as error:  # whatever the import raises
        raise UsageError(f"--import {module}: {type(error).__name__}: {reason(error)}.") from error


@contextmanager
def loading(sentence: str) -> Iterator[None]:
    """A block that loads a SavedModel; an error in it is reported as `sentence: reason`."""
    try:
        yield
    except RlwayError:
        raise
    except Exception as error:  # TensorFlow has no single error for damaged files
        raise RunInvalid(f"{sentence}: {reason(error)}.") from error
