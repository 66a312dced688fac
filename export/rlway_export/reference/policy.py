"""A policy as a SavedModel: the reference that every exported file is compared with.

In:      a folder with a SavedModel, its inputs and outputs.
Out:     `SavedPolicy`: its function over any batch, to be run or to be converted.
Refuses: a SavedModel that cannot be loaded (RunInvalid); one without the function, observations that it cannot act on
         (ExportRefused).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.quote import named, reason, short_name
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.interface import NEXT, Interface
from rlway_client.contract.parity import Arrays, rows_of
from rlway_export.reference.loops import Unrolled, has_loops
from rlway_export.reference.nest import leaves

CHUNK_ROWS = 256  # more rows of images at once would fill the machine's memory
WHERE = re.compile(r"Graph execution error|Detected at node|<stack traces|\[\[\{\{node|File ")  # says where, not what
UNREGISTERED = re.compile(r"The type '?([\w.]+)'? has not been registered")


class SavedPolicy(ABC):
    """A function from observation, noise and policy state to action and next state; `interface` has its tensors."""

    interface: Interface
    notes: list[str]  # what a user should know about the SavedModel, a sentence each

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
            return self._traced if batch is None else self.module(batch)
        unrolled, names = self._unrolled, sorted(spec.name for spec in self.interface.results)  # as TensorFlow has them

        def act(*inputs: Any) -> dict[str, Any]:
            return dict(zip(names, unrolled.call(list(inputs)), strict=True))

        module = tf.Module()
        module.act = tf.function(act, input_signature=self.signature(batch), autograph=False)
        return module

    def frozen(self) -> Any:
        """The function over any batch in one graph, its weights constants."""
        return _freeze(self.convertible(batch=None).act.get_concrete_function())

    @cached_property
    def _unrolled(self) -> Unrolled | None:
        function = self._traced.act.get_concrete_function()
        return Unrolled.of(_freeze(function)) if has_loops(function) else None

    def run_act(self, inputs: Arrays) -> Arrays:
        """The SavedModel's answers: arrays by output name."""
        parts = []
        for start in range(0, rows_of(inputs), CHUNK_ROWS):
            chunk = [inputs[spec.name][start : start + CHUNK_ROWS] for spec in self.interface.inputs]
            parts.append(self._run(chunk))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, rows: list[Any]) -> Arrays:
        import tensorflow as tf

        try:
            return {name: value.numpy() for name, value in self._traced.act(*rows).items()}
        except tf.errors.OpError as error:  # a look-up outside of its table, or an assertion
            message = "\n".join(line for line in error.message.splitlines() if not WHERE.match(line.strip()))
            raise ExportRefused(
                f"the SavedModel cannot act on the observations that it is compared over: {reason(message)}; give some "
                f"that it takes, with --observations FILE.npz."
            ) from error

    @cached_property
    def _traced(self) -> Any:
        return self.module(batch=None)

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
        self._loaded = load(saved_model)
        if not hasattr(self._loaded, "act"):
            raise ExportRefused(f"{self._name}: has no `act` function, so it was not saved by `rlway train`.")
        self._taken, _ = self._loaded.act.concrete_functions[0].structured_input_signature
        self._order = self._find_order()
        self._check_inputs()

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


def _freeze(function: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # The converters know loops, but not the low-level operations that loops would be lowered to.
    keeps = has_loops(function)
    return convert_variables_to_constants_v2(function, lower_control_flow=not keeps, aggressive_inlining=keeps)


def load(saved_model: Path) -> Any:
    """The SavedModel, as TensorFlow restores it."""
    import tensorflow as tf
    import tf_agents  # noqa: F401  registers the type specs that the SavedModel refers to

    return tf.saved_model.load(str(saved_model))


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
        unknown = UNREGISTERED.search(str(error))
        if unknown is not None:
            module = unknown[1].rpartition(".")[0] or "the module that defines it"
            raise ExportRefused(
                f"{sentence}: its type {short_name(unknown[1])} is not known here; name what registers it with "
                f"--import {module}."
            ) from error
        raise RunInvalid(f"{sentence}: {reason(error)}.") from error
