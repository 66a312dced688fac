"""A function of TensorFlow whose tensors have names, but no roles: a SavedModel's signature, or a Keras network.

In:      a SavedModel, from TensorFlow 1 on.
Out:     `NamedFunction`: the function, and what it takes and gives by name.
Refuses: several signatures of which none is `serving_default`; a signature that cannot be loaded (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import named
from rlway_client.contract.errors import ExportRefused
from rlway_export.graphs.nests import Leaf
from rlway_export.graphs.saved_model import SavedModel
from rlway_export.graphs.version1 import graph_between, is_version1

DEFAULT = "serving_default"
ACTION = "action"
OWN = "__saved_model_"  # the prefix of signatures that TensorFlow adds itself


class NamedFunction(NamedTuple):
    """A function from tensors by name to tensors by name. The paths of its leaves are empty."""

    call: Callable[[dict[str, Any]], dict[str, Any]]
    inputs: list[Leaf]
    outputs: list[Leaf]
    owner: Any = None  # keeps the weights alive

    @classmethod
    def of_signature(cls, folder: Path, meta: Any, name: str) -> NamedFunction:
        """A SavedModel's signature for serving; `meta` is its message, `name` its name in messages."""
        key = _choose(signatures(meta), name)
        if is_version1(meta):
            return cls._of_version1(folder, meta, key, name)
        loaded = SavedModel.open(folder, name).loaded
        function = loaded.signatures[key]
        _, taken = function.structured_input_signature
        given = function.structured_outputs
        return cls(
            lambda tensors: function(**tensors),
            [_leaf(label, spec) for label, spec in sorted(taken.items())],
            [_leaf(label, spec) for label, spec in sorted(given.items())],
            loaded,
        )

    @classmethod
    def _of_version1(cls, folder: Path, meta: Any, key: str, name: str) -> NamedFunction:
        signature = meta.signature_def[key]
        labels = [sorted(side) for side in (signature.inputs, signature.outputs)]
        taken = {label: signature.inputs[label].name for label in labels[0]}
        given = [signature.outputs[label].name for label in labels[1]]
        graph = graph_between(folder, meta, [*taken.values()], given, name)
        read = [label for label, tensor in taken.items() if tensor in graph.inputs]

        def call(tensors: dict[str, Any]) -> dict[str, Any]:
            return dict(zip(labels[1], graph.call([tensors[label] for label in read]), strict=True))

        return cls(
            call,
            [_leaf_of_info(label, signature.inputs[label]) for label in labels[0]],
            [_leaf_of_info(label, signature.outputs[label]) for label in labels[1]],
        )

    def concrete(self, taken: list[str], wanted: list[str], fixed: dict[str, float]) -> Any:
        """A concrete function of these inputs in order, which gives the wanted outputs as a list.

        The `fixed` inputs always have one value, for every row where they have a batch.
        """
        import tensorflow as tf

        leaves = {leaf.name: leaf for leaf in self.inputs}

        def function(*tensors: Any) -> list[Any]:
            rows = tf.shape(tensors[0])[0]
            constants = {name: _filled(leaves[name], value, rows) for name, value in fixed.items()}
            given = self.call(dict(zip(taken, tensors, strict=True)) | constants)
            return [given[name] for name in wanted]

        signature = [tf.TensorSpec(leaves[name].shape, leaves[name].dtype) for name in taken]
        return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()


def signatures(meta: Any) -> list[str]:
    """The names of a SavedModel's signatures, without TensorFlow's own."""
    return sorted(key for key in meta.signature_def if not key.startswith(OWN))


def has_action(meta: Any) -> bool:
    """Whether it has the function `action` of TF-Agents' PolicySaver, by which it says itself what its tensors are."""
    nodes = meta.object_graph_def.nodes
    children = nodes[0].children if nodes else []
    functions = (child for child in children if child.local_name == ACTION and child.node_id < len(nodes))
    return ACTION in meta.signature_def or any(nodes[child.node_id].HasField("function") for child in functions)


def _choose(keys: list[str], name: str) -> str:
    if DEFAULT in keys:
        return DEFAULT
    if len(keys) != 1:
        raise ExportRefused(
            f"{name}: expected one signature, or {DEFAULT} among several, got {named(keys)}; save it with "
            f"signatures={{{DEFAULT!r}: …}}."
        )
    return keys[0]


def _filled(leaf: Leaf, value: float, rows: Any) -> Any:
    import tensorflow as tf

    sizes = leaf.shape or ()
    shape = [rows if i == 0 and size is None else size for i, size in enumerate(sizes)]
    return tf.fill(shape, tf.cast(value, leaf.dtype))


def _leaf(label: str, spec: Any) -> Leaf:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return Leaf((), label, shape, spec.dtype.name)


def _leaf_of_info(label: str, info: Any) -> Leaf:
    import tensorflow as tf

    return _leaf(label, tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype).base_dtype))
