"""A policy as a SavedModel: the reference that every exported file is held against.

In:      a folder with a SavedModel, what goes in and what comes out of it.
Out:     `SavedPolicy`: its function over any batch, to be run or to be converted.
Refuses: a SavedModel that cannot be loaded (RunInvalid), one without the function (ExportRefused).
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

from rlway_client.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.interface import NEXT, Interface
from rlway_client.parity import Arrays, rows_of

CHUNK_ROWS = 256  # images of more rows at once would fill the memory
UNREGISTERED = re.compile(r"The type '?([\w.]+)'? has not been registered")


class SavedPolicy(ABC):
    """One step of a policy. `interface` says what goes in and what comes out."""

    interface: Interface
    notes: list[str]  # what a user should know of the SavedModel, a sentence each

    def signature(self, batch: int | None) -> list[Any]:
        """The TensorSpecs of the inputs over `batch` rows (None: any number)."""
        import tensorflow as tf

        return [tf.TensorSpec([batch, *spec.shape], spec.dtype, name=spec.name) for spec in self.interface.inputs]

    def module(self, batch: int | None) -> Any:
        """A tf.Module whose one function, `act`, takes `batch` rows."""
        import tensorflow as tf

        module = tf.Module()
        module.policy = self._model  # keeps the weights with it
        module.act = tf.function(self._act, input_signature=self.signature(batch), autograph=False)
        return module

    def frozen(self) -> Any:
        """The function over any batch in one graph, its weights constants."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        return convert_variables_to_constants_v2(self._traced.act.get_concrete_function())

    def run_act(self, inputs: Arrays) -> Arrays:
        """What the SavedModel answers: arrays by output name."""
        parts = []
        for start in range(0, rows_of(inputs), CHUNK_ROWS):
            chunk = [inputs[spec.name][start : start + CHUNK_ROWS] for spec in self.interface.inputs]
            parts.append({name: value.numpy() for name, value in self._traced.act(*chunk).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def _traced(self) -> Any:
        return self.module(batch=None)

    @property
    @abstractmethod
    def _model(self) -> Any:
        """The loaded SavedModel."""

    @abstractmethod
    def _act(self, *inputs: Any) -> dict[str, Any]:
        """From tensors in the order of the interface's inputs to its results by name."""


class ActPolicy(SavedPolicy):
    """A SavedModel of `rlway train`, which brings a function of observation, noise and state by itself.

    `name` is what messages call it.
    """

    def __init__(self, saved_model: Path, interface: Interface, name: str) -> None:
        self._name = name
        self.interface = interface
        self.notes = []
        self._loaded = load(saved_model)
        if not hasattr(self._loaded, "act"):
            raise ExportRefused(f"{self._name}: has no `act` function, so it was not saved by `rlway train`.")
        self._taken, _ = self._loaded.act.concrete_functions[0].structured_input_signature
        self._check_inputs()

    @property
    def _model(self) -> Any:
        return self._loaded

    def _check_inputs(self) -> None:
        import tensorflow as tf

        taken = [list(spec.shape[1:]) for spec in tf.nest.flatten(self._taken)]
        told = [list(spec.shape) for spec in self.interface.inputs]
        if taken != told:
            raise RunInvalid(
                f"{self._name}: run.json tells of inputs with the shapes {told}, the SavedModel's `act` takes {taken}."
            )

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        # Observations are float32 in the network, whatever they are in the environment.
        specs = tf.nest.flatten(self._taken)
        cast = [tf.cast(value, spec.dtype) for value, spec in zip(inputs, specs, strict=True)]
        outputs = self._loaded.act(*tf.nest.pack_sequence_as(self._taken, cast))
        state = {spec.name for spec in self.interface.state}
        return {NEXT + name if name in state else name: value for name, value in outputs.items()}


def load(saved_model: Path) -> Any:
    """The SavedModel as TensorFlow restores it."""
    import tensorflow as tf
    import tf_agents  # noqa: F401  registers the type specs that the SavedModel refers to

    return tf.saved_model.load(str(saved_model))


def import_named(module: str) -> None:
    """Imports what registers types that SavedModels may refer to."""
    try:
        import_module(module)
    except Exception as error:  # whatever it raises when it is imported
        raise UsageError(
            f"--import {module}: {type(error).__name__}: {(str(error) or '?').splitlines()[0]}."
        ) from error


@contextmanager
def loading(sentence: str) -> Iterator[None]:
    """A block that loads a SavedModel; what goes wrong is told as `sentence: reason`."""
    try:
        yield
    except RlwayError:
        raise
    except Exception as error:  # TensorFlow has no one kind for "this is damaged"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        unknown = UNREGISTERED.search(str(error))
        if unknown is not None:
            module = unknown[1].rpartition(".")[0] or "the module that defines it"
            raise ExportRefused(
                f"{sentence}: its type {unknown[1]} is not known here; name what registers it with --import {module}."
            ) from error
        raise RunInvalid(f"{sentence}: {reason}.") from error
