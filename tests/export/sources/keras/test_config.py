"""What the description of a Keras network may name: attacks that Keras would carry out are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlway_client.contract.errors import ExportRefused
from rlway_export.sources.keras.config import check_code, check_names
from tests.export import networks


def described() -> Any:
    """The description of a network, as Keras writes it."""
    import tensorflow as tf

    return json.loads(json.dumps(tf.keras.utils.serialize_keras_object(networks.q_network())))


def layer(kind: str, module: str | None = "keras.layers", registered: str | None = None, **config: Any) -> Any:
    settings = {"name": "odd", **config}
    return {"module": module, "class_name": kind, "config": settings, "registered_name": registered}


def function(name: str, module: str) -> Any:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


OPERATION = "keras.src.layers.core.tf_op_layer"
ATTACKS: dict[str, tuple[Any, str]] = {
    "a Lambda layer": (layer("Lambda", function=["4wEA", None, None]), "odd is or has a Lambda layer, which is code"),
    "a lambda": (layer("Dense", activation={"class_name": "__lambda__", "config": {"value": "4wEA"}}), "has a lambda"),
    "a lambda as Keras 2 writes it": (layer("Dense", activation={"value": ["4wEA", None, None]}), "has a lambda"),
    "a function of another module": (layer("Dense", activation=function("system", "os")), "has the function system"),
    "a function of Python's": (layer("Dense", activation=function("exec", "builtins")), "has the function exec"),
    "a function under another name": (
        layer("Dense", activation=function("relu", "builtins") | {"registered_name": "get_file"}),
        "has the function relu",
    ),
    "a class of another module": (layer("Popen", "subprocess"), "has a Popen, a class that is not Keras' own"),
    "a class of its own": (layer("Noisy", None, "mine>Noisy"), "has a mine>Noisy, a class that is not Keras' own"),
    "a function as a class": (layer("Dense", "keras.utils", "get_file"), "has a get_file, a class"),
    "a module of Keras that is no layer's": (layer("Dense", "keras.src.utils.data_utils"), "a class that is not"),
    "a layer that loads a SavedModel": (layer("TFSMLayer", filepath="/tmp/x"), "TFSMLayer, which may read files"),
    "a layer that reads a vocabulary": (layer("StringLookup", vocabulary="/etc/passwd"), "which may read files"),
    "an operation that deletes": (layer("TFOpLambda", OPERATION, function="io.gfile.remove"), "io.gfile.remove, which"),
    "an operation that loads": (layer("TFOpLambda", OPERATION, function="saved_model.load"), "saved_model.load, which"),
    "an operation that calls Python": (layer("TFOpLambda", OPERATION, function="py_function"), "py_function, which"),
    "an operation that builds": (
        layer("TFOpLambda", OPERATION, function="keras.activations.deserialize"),
        "deserialize, which",
    ),
    "an operation that finds": (
        layer("TFOpLambda", OPERATION, function="keras.activations.get"),
        "activations.get, which",
    ),
    "an activation that builds": (
        layer("Dense", activation=function("deserialize", "builtins")),
        "function deserialize",
    ),
    "an activation that finds": (layer("Dense", activation=function("get", "builtins")), "has the function get, which"),
    "an attribute of any class": (layer("ClassMethod", OPERATION, cls_symbol="io.gfile"), "a ClassMethod, a class"),
    "a class without a name": (layer(["Dense"]), "a class that is not Keras' own"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", ATTACKS)
@pytest.mark.parametrize("depth", ["as a layer", "within a layer"])
def test_code_and_names_of_others_are_refused_with_their_layer(case: str, depth: str) -> None:
    """However deep it lies."""
    attack, expected = ATTACKS[case]
    config = described()
    place = {"layer": attack} if depth == "within a layer" else attack
    config["config"]["layers"].append(place if depth == "as a layer" else layer("Bidirectional", **place))
    with pytest.raises(ExportRefused, match=expected):
        check_code(config, "q.keras")
        check_names(config, "q.keras")


@pytest.mark.parametrize(
    "name",
    [
        "keras.activations.gelu",
        "math.reduce_mean",
        "nn.relu",
        "clip_by_value",
        "__operators__.getitem",
        "compat.v1.gather",
        "keras.backend.mean",
    ],
)
def test_operations_that_compute_are_taken(name: str) -> None:
    """As Keras finds them between the layers of a functional network."""
    config = described()
    config["config"]["layers"].append(layer("TFOpLambda", OPERATION, "TFOpLambda", function=name))
    check_code(config, "q.keras")
    check_names(config, "q.keras")
