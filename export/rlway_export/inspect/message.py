"""What the message of a SavedModel tells without being loaded.

In:      the message of its graphs, functions and objects.
Out:     `MessageFacts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from rlway_export.graphs.draws import DRAWS, KEYS
from rlway_export.graphs.named_function import ACTION, DEFAULT, has_action
from rlway_export.graphs.safety import reachable
from rlway_export.graphs.saved_model import exported_functions, read_meta
from rlway_export.graphs.version1 import is_version1
from rlway_export.inspect.report import Signature, Tensor

INTERNAL = "__"  # signatures of TensorFlow itself begin so
ACTING = (ACTION, "act")
POLICY_SAVER = {"action", "get_initial_state", "get_train_step"}  # what PolicySaver's objects have
KERAS = re.compile(r"_tf_keras_(model|network|sequential)")
WHOLE = re.compile(r"\w+")


class MessageFacts:
    """Facts of one SavedModel, each found when it is asked for."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta

    @classmethod
    def read(cls, folder: Path) -> MessageFacts:
        """Raises RunInvalid for a damaged message."""
        return cls(read_meta(folder, str(folder)))

    @property
    def tensorflow(self) -> str:
        """The version of the TensorFlow that wrote it; empty if it does not say."""
        return str(self._meta.meta_info_def.tensorflow_version)

    @property
    def writer(self) -> str:
        """The program that wrote it, by what its objects are called."""
        if is_version1(self._meta):
            return "TensorFlow 1"
        children = {child.local_name for child in self._nodes[0].children}
        if "act" in children and ACTION in children:
            return "rlway train"
        if children >= POLICY_SAVER:
            return "TF-Agents' PolicySaver"
        kind = self._nodes[0].user_object.identifier
        return "Keras" if KERAS.match(kind) else "tf.saved_model.save"

    @property
    def signatures(self) -> list[Signature]:
        """Those that can be called."""
        found = sorted(self._meta.signature_def.items())
        return [
            Signature(name, _tensors(one.inputs), _tensors(one.outputs))
            for name, one in found
            if not name.startswith(INTERNAL)
        ]

    @property
    def served(self) -> Signature | None:
        """The signature that an export takes where there is no `action`; None if there is one."""
        if has_action(self._meta):
            return None
        return next((one for one in self.signatures if one.name == DEFAULT or len(self.signatures) == 1), None)

    @property
    def fixed_rows(self) -> int | None:
        """The only number of rows that the policy takes; None for any."""
        acting = self.served or next((one for one in self.signatures if one.name == ACTION), None)
        sizes = {tensor.shape[0] for tensor in (acting.inputs if acting else ()) if tensor.shape}
        (size,) = sizes if len(sizes) == 1 else (None,)
        return size if isinstance(size, int) else None

    @property
    def draws(self) -> list[str]:
        """The kinds of the operations by which it draws when it acts."""
        kinds = {node.op for node in self._operations if DRAWS.match(node.op) and not KEYS.match(node.op)}
        return sorted(kinds)

    @property
    def names(self) -> set[str]:
        """The names of objects, and the parts of the names of variables and operations."""
        found = {child.local_name for node in self._nodes for child in node.children}
        for name in (*(node.variable.name for node in self._nodes), *(node.name for node in self._operations)):
            found.update(WHOLE.findall(name))
        return found

    @property
    def weights(self) -> list[tuple[int, int]]:
        """The number of elements and of bytes of each variable that acting reads."""
        functions, nodes = self._meta.object_graph_def.concrete_functions, self._nodes
        places = {place for name in self._roots if name in functions for place in functions[name].bound_inputs}
        bound = [nodes[place] for place in sorted(places) if place < len(nodes)]
        found = []
        for variable in (node.variable for node in bound if node.WhichOneof("kind") == "variable"):
            elements = math.prod(max(size.size, 0) for size in variable.shape.dim)
            found.append((elements, elements * _item_bytes(variable.dtype)))
        return found

    @property
    def _nodes(self) -> Any:
        return self._meta.object_graph_def.nodes

    @cached_property
    def _roots(self) -> list[str]:
        """The functions that act: `action` and `act`, or else every signature."""
        children = self._nodes[0].children if self._nodes else []
        acting = [child.node_id for child in children if child.local_name in ACTING]
        named = [name for place in acting if place < len(self._nodes) for name in self._concrete(place)]
        return named or exported_functions(self._meta)

    def _concrete(self, place: int) -> list[str]:
        return list(self._nodes[place].function.concrete_functions)

    @cached_property
    def _operations(self) -> list[Any]:
        functions = {function.signature.name: function for function in self._meta.graph_def.library.function}
        return list(reachable(functions, self._roots))


def _tensors(tensors: Any) -> list[Tensor]:
    return list(_each(tensors))


def _each(tensors: Any) -> Iterator[Tensor]:
    for name, tensor in sorted(tensors.items()):
        shape = tensor.tensor_shape
        dims = None if shape.unknown_rank else [None if size.size < 0 else size.size for size in shape.dim]
        yield Tensor(name, _dtype(tensor.dtype), dims)


def _dtype(number: int) -> str:
    import tensorflow as tf

    try:
        return str(tf.as_dtype(number).name)
    except TypeError:  # a number that stands for no type
        return "unknown"


def _item_bytes(number: int) -> int:
    import tensorflow as tf

    return 0 if _dtype(number) in ("unknown", "string", "resource", "variant") else int(tf.as_dtype(number).size)
