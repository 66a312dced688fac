"""What the description of a Keras network may name: Keras' own layers, and functions that only compute.

In:      the description, as it lies in a `.keras` or `.h5` file.
Refuses: code (a Lambda layer, a lambda), classes and functions of a program's own, layers that read files, functions of
         TensorFlow that do more than compute (ExportRefused names the layer).

Keras builds whatever a description names: it imports any module, and calls any function. Its own safe mode refuses
lambdas in `.keras` files, and nothing in `.h5` files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused

MODULES = re.compile(
    r"keras(\.src)?(\.engine\.(functional|sequential|training|input_layer)|\.(layers|initializers)(\.\w+)*|\.models|"
    r"\.regularizers|\.constraints|\.activations|\.mixed_precision)?"
)
KINDS = ("layers", "models", "initializers", "regularizers", "constraints")  # modules of tf.keras
INTERNAL = ("Functional", "Policy", "SlicingOpLambda", "TFOpLambda")  # classes that tf.keras does not show
LOOKUPS = ("deserialize", "get", "serialize")  # of keras.activations, which are no activations but find one by its name
VALUES = ("__bytes__", "__ellipsis__", "__numpy__", "__slice__", "__tensor__", "__tuple__")
CODE = ("Lambda", "__lambda__")
READERS = ("DenseFeatures", "IntegerLookup", "SequenceFeatures", "StringLookup", "TFSMLayer", "TextVectorization")
OPERATIONS = ("SlicingOpLambda", "TFOpLambda")
COMPUTES = re.compile(
    r"(compat\.v1\.)?((math|nn|linalg|bitwise|image|__operators__)(\.\w+)+|"
    rf"keras\.activations\.(?!({'|'.join(LOOKUPS)})\b)\w+|"
    r"(keras\.backend\.)?(abs|add|arg(max|min|sort)|batch_flatten|broadcast_to|cast|clip\w*|concat(enate)?|cos|cum\w+|"
    r"divide|einsum|equal|exp|expand_dims|eye|fill|flatten|floor\w*|gather(_nd)?|greater(_equal)?|identity|less(_equal)?|"
    r"log|logical_\w+|matmul|max|maximum|mean|min|minimum|multiply|negative|norm|not_equal|one_hot|ones(_like)?|pad|"
    r"permute_dimensions|pow|range|rank|reduce_\w+|relu|repeat|reshape|reverse|roll|round|shape|sigmoid|sign|sin|size|"
    r"slice|softmax|sort|split|sqrt|square|squeeze|stack|stop_gradient|strided_slice|subtract|sum|tan|tanh|tensordot|"
    r"tile|transpose|truediv|unstack|where|zeros(_like)?))"
)
REMEDY = "write a SavedModel where its code is, with model.export(FOLDER), and give that folder"


class Part(NamedTuple):
    """A part of the description that names a class or a function."""

    layer: str  # that it is, or in which it lies
    fields: dict[str, Any]


def check_code(config: Any, name: str) -> None:
    """Raises ExportRefused if the description has code in it. `name` is the file in messages; needs no TensorFlow."""
    for part in _parts(config):
        kind = part.fields.get("class_name")
        if kind in CODE or set(part.fields) == {"value"}:  # Keras 2 writes the latter for a lambda as an activation
            what = "a Lambda layer" if kind == "Lambda" else "a lambda"
            raise ExportRefused(f"{name}: {part.layer} is or has {what}, which is code of a program; {REMEDY}.")


def check_names(config: Any, name: str) -> None:
    """Raises ExportRefused unless every class and function that the description names is Keras' own."""
    known = _known_classes()
    for part in _parts(config):
        if "class_name" in part.fields:
            _check(part, known, name)


def _check(part: Part, known: set[str], name: str) -> None:
    fields = part.fields
    kind, module = fields["class_name"], fields.get("module")
    registered = fields.get("registered_name")
    kind = kind if isinstance(kind, str) else str(kind)
    if kind in VALUES:
        return
    if kind == "function":
        function = fields.get("config")
        if module != "builtins" or not _is_activation(function) or registered not in (None, "function", function):
            raise ExportRefused(
                f"{name}: {part.layer} has the function {short_name(str(function))}, which is not Keras' own; {REMEDY}."
            )
        return
    if kind in READERS:
        raise ExportRefused(f"{name}: {part.layer} is a {kind}, which may read files; {REMEDY}.")
    is_own = module is None or (isinstance(module, str) and MODULES.fullmatch(module))
    if kind not in known or not is_own or registered not in (None, kind):
        raise ExportRefused(
            f"{name}: {part.layer} is or has a {short_name(str(registered or kind))}, a class that is not Keras' own; "
            f"{REMEDY}."
        )
    if kind in OPERATIONS:
        settings = fields.get("config")
        function = settings.get("function") if isinstance(settings, dict) else None
        if not isinstance(function, str) or not COMPUTES.fullmatch(function):
            raise ExportRefused(
                f"{name}: {part.layer} calls tf.{short_name(str(function))}, which may do more than compute; {REMEDY}."
            )


def _parts(config: Any) -> Iterator[Part]:
    """The dicts of the description, the outer ones first."""
    unseen = [("the network", config)]
    while unseen:
        layer, found = unseen.pop()
        if isinstance(found, dict):
            settings = found.get("config")
            if "class_name" in found and isinstance(settings, dict) and isinstance(settings.get("name"), str):
                layer = f"its layer {short_name(settings['name'])}"
            yield Part(layer, found)
            unseen += [(layer, value) for value in found.values()]
        elif isinstance(found, list):
            unseen += [(layer, value) for value in found]


def _known_classes() -> set[str]:
    import tensorflow as tf

    modules = [vars(getattr(tf.keras, kind)) for kind in KINDS]
    return {name for one in modules for name, value in one.items() if isinstance(value, type)} | {*INTERNAL}


def _is_activation(name: Any) -> bool:
    import tensorflow as tf

    if not isinstance(name, str) or name.startswith("_") or name in LOOKUPS:
        return False
    return callable(vars(tf.keras.activations).get(name))
