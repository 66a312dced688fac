"""A Keras network, built from a file that was checked.

In:      the file.
Out:     the network as a function whose tensors have names; a SavedModel of it.
Refuses: what Keras cannot build, a network without a known input (RunInvalid); one that would take more memory than any
         policy (ExportRefused); a SavedModel that answers otherwise than the network does (ExportRefused).
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.quote import reason
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid
from rlway_export.graphs.named_function import DEFAULT, NamedFunction
from rlway_export.graphs.nests import Leaf
from rlway_export.sources.keras.config import check_names
from rlway_export.sources.keras.file import CONFIG, METADATA, WEIGHTS, KerasFile, open_weights

TRIED_ROWS = 16
MOST_ELEMENTS = 2**28  # of all weights: 1 GiB of float32


def load_network(file: KerasFile) -> Any:
    """The network, without its optimizer and loss."""
    import tensorflow as tf

    check_names(_network_alone(file.config), str(file.path))
    weights = open_weights(file)
    try:
        _check_size(file)
        if not file.is_archive:
            return tf.keras.models.load_model(weights, compile=False)
        with tempfile.TemporaryDirectory(prefix="rlway-keras-") as scratch:
            return tf.keras.models.load_model(_clean(file, Path(scratch)), compile=False, safe_mode=True)
    except RlwayError:
        raise
    except Exception as error:  # Keras has no error of its own
        raise RunInvalid(f"{file.path}: Keras cannot build it: {reason(error)}.") from error
    finally:
        weights.close()


def named_function(network: Any, name: str) -> NamedFunction:
    """Its inputs and outputs by the names of their layers; `name` is the file in messages."""
    import tensorflow as tf

    if not getattr(network, "inputs", None):
        raise RunInvalid(f"{name}: has no known input; call the network once before it is saved.")

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        given = [tensors[label] for label in network.input_names]
        answers = network(given if len(given) > 1 else given[0], training=False)
        return dict(zip(network.output_names, tf.nest.flatten(answers), strict=True))

    inputs, outputs = (
        [_leaf(label, tensor) for label, tensor in zip(labels, tensors, strict=True)]
        for labels, tensors in ((network.input_names, network.inputs), (network.output_names, network.outputs))
    )
    return NamedFunction(call, inputs, outputs, network)


def write_saved_model(named: NamedFunction, folder: Path, name: str) -> None:
    """The network as a SavedModel, with a signature of the same names."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = named.owner.variables

    def serve(*tensors: Any) -> dict[str, Any]:
        return named.call(dict(zip((leaf.name for leaf in named.inputs), tensors, strict=True)))

    signature = [tf.TensorSpec(leaf.shape, leaf.dtype, name=leaf.name) for leaf in named.inputs]
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(folder), signatures={DEFAULT: module.serve.get_concrete_function()})
    _compare(named, tf.saved_model.load(str(folder)).signatures[DEFAULT], name)


def _compare(named: NamedFunction, served: Any, name: str) -> None:
    import tensorflow as tf

    generator = np.random.default_rng(0)
    rows = next((leaf.shape[0] for leaf in named.inputs if leaf.shape and leaf.shape[0] is not None), TRIED_ROWS)
    given = {
        leaf.name: tf.cast(generator.random((rows, *(size or 1 for size in (leaf.shape or ())[1:]))), leaf.dtype)
        for leaf in named.inputs
    }
    expected, found = named.call(given), served(**given)
    for label, value in expected.items():
        if not np.allclose(value, found[label], 1e-5, 1e-6, equal_nan=True):
            raise ExportRefused(
                f"{name}: its SavedModel gives another {label} than the network; write one with model.export(FOLDER), "
                f"and give that folder."
            )


def _network_alone(config: dict[str, Any]) -> dict[str, Any]:
    """The description without what it was trained with."""
    return {key: value for key, value in config.items() if key != "compile_config"}


def _clean(file: KerasFile, folder: Path) -> str:
    """An archive of only what was checked."""
    path = folder / "network.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(METADATA, json.dumps({"keras_version": file.version}))
        archive.writestr(CONFIG, json.dumps(_network_alone(file.config)))
        archive.writestr(WEIGHTS, file.weights)
    return str(path)


def _check_size(file: KerasFile) -> None:
    """Builds the network where variables take no memory, to count them."""
    import tensorflow as tf

    count = 0
    try:
        with tf.Graph().as_default():
            if file.is_archive:
                network = tf.keras.utils.deserialize_keras_object(_network_alone(file.config))
            else:
                network = tf.keras.models.model_from_json(json.dumps(file.config))
            count = network.count_params()
    except Exception:  # it is built again, where its error counts
        return
    if count > MOST_ELEMENTS:
        raise ExportRefused(f"{file.path}: expected at most {MOST_ELEMENTS:,} weights, got {count:,}.")


def _leaf(label: str, tensor: Any) -> Leaf:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Leaf((), label, shape, tensor.dtype.name)
