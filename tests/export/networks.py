"""Small Keras networks, and SavedModels with a signature, as in anybody's program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

_layers, _input = tf.keras.layers, tf.keras.Input
OBSERVATION = tf.TensorSpec([None, 4], tf.float32, name="obs")


def _seeded() -> None:
    tf.keras.utils.set_random_seed(0)


def q_network() -> Any:
    """Four numbers to the Q-values of three actions."""
    _seeded()
    return tf.keras.Sequential([_input([4], name="seen"), _layers.Dense(16, "relu"), _layers.Dense(3, name="values")])


def dueling() -> Any:
    """Two inputs, operators of TensorFlow between layers, two outputs."""
    _seeded()
    body, goal = _input([4], name="body"), _input([2], name="goal")
    seen = _layers.Dense(8, "tanh")(_layers.Concatenate()([body, goal]))
    advantage, value = _layers.Dense(3)(seen), _layers.Dense(1, name="value")(seen)
    scores = _layers.Activation("linear", name="scores")(value + advantage - tf.reduce_mean(advantage, 1, True))
    return tf.keras.Model([body, goal], [scores, value])


def recurrent() -> Any:
    """An LSTM whose state goes in and comes out."""
    _seeded()
    seen, h, c = _input([4], name="seen"), _input([6], name="h"), _input([6], name="c")
    out, next_h, next_c = _layers.LSTM(6, return_state=True)(_layers.Reshape((1, 4))(seen), initial_state=[h, c])
    named = [_layers.Activation("linear", name=name)(one) for name, one in (("h_out", next_h), ("c_out", next_c))]
    return tf.keras.Model([seen, h, c], [_layers.Dense(3, name="values")(out), *named])


def of_one_row() -> Any:
    """As a network becomes that was called with one observation before it was saved."""
    _seeded()
    network = tf.keras.Sequential([_layers.Dense(8, "relu"), _layers.Dense(2, "tanh")])
    network(np.zeros((1, 4), np.float32))
    return network


def save(network: Any, path: Path) -> Path:
    """As Keras saves it, by the name's suffix."""
    network.save(path)
    return path


def signed(function: Any, folder: Path, *specs: tf.TensorSpec, key: str = "serving_default", **owned: Any) -> Path:
    """A SavedModel with this function as a signature; `owned` are its variables."""
    module = tf.Module()
    for name, value in owned.items():
        setattr(module, name, value)
    module.serve = tf.function(function, input_signature=list(specs) or [OBSERVATION])
    tf.saved_model.save(module, str(folder), signatures={key: module.serve})
    return folder


def weights(rows: int = 4, columns: int = 3) -> Any:
    return tf.Variable(np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32))


def version1(folder: Path, use_resource: bool = False, extra: Any = None) -> Path:
    """As programs of TensorFlow 1 saved their policies: x → pi. `extra` makes an operation to run on loading."""
    one, initial = tf.compat.v1, weights().numpy()
    with tf.Graph().as_default() as graph, one.Session(graph=graph) as session:
        seen = one.placeholder(tf.float32, [None, 4], name="seen")
        unread = one.placeholder(tf.bool, [], name="training")
        kernel = one.get_variable("kernel", initializer=initial, use_resource=use_resource)
        scores = tf.matmul(seen, kernel)
        session.run(one.global_variables_initializer())
        builder = one.saved_model.Builder(str(folder))
        signature = one.saved_model.predict_signature_def({"x": seen, "training": unread}, {"pi": scores})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=extra() if extra is not None else None
        )
        builder.save()
    return folder
