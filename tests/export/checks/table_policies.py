"""Small policies, made with TF-Agents alone, that look their observations up in tables in many ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.networks.q_network import QNetwork
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step_spec

from tests.export import stock

Tables = list[Any]  # of 10, 5 and 100 rows of two numbers each


class Seen(tf.keras.layers.Layer):  # type: ignore[misc]  # TensorFlow carries no types
    """What the network sees of an observation."""

    def __init__(self, way: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.way = way
        self.tables = [
            self.add_weight(name=f"of_{rows}", shape=(rows, 2), initializer="normal") for rows in (10, 5, 100)
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "way": self.way}

    def call(self, observation: Any) -> Any:
        seen = WAYS[self.way](observation, self.tables)
        return tf.cast(tf.reshape(seen, [-1, math.prod(seen.shape[1:])]), tf.float32)


def _two(x: Any, tables: Tables) -> Any:
    number = tf.cast(x[:, 1:2], tf.float32)
    return tf.concat([tf.gather(tables[0], x[:, 0]), number, tf.gather(tables[1], x[:, 2])], axis=-1)


def _of_this_row(x: Any, _: Tables) -> Any:
    return tf.gather_nd(tf.cast(x, tf.float32), tf.stack([tf.range(tf.shape(x)[0]), x[:, 0]], axis=-1))[:, None]


WAYS: dict[str, Callable[[Any, Tables], Any]] = {
    "offset": lambda x, t: tf.gather(t[0], x - 100),
    "two tables": _two,
    "a chain": lambda x, t: tf.gather(t[1], tf.gather(tf.constant([4, 3, 2, 1, 0, 0, 0, 0]), x)),
    "a chain that narrows": lambda x, t: tf.gather(t[1], tf.gather(tf.range(10), x)),
    "a chain with steps": lambda x, t: tf.gather(t[1], tf.gather(tf.constant([0] * 6 + [1] * 6 + [9] * 6), x)),
    "in two dimensions": lambda x, t: tf.gather_nd(tf.reshape(t[2], [20, 5, 2]), x),
    "size": lambda x, t: tf.gather(t[0], tf.abs(x)),
    "floats": lambda x, t: tf.gather(t[0], tf.cast(x, tf.int32)),
    "octets": lambda x, t: tf.gather(t[0], tf.cast(x + 1, tf.int32)),
    "of this row": _of_this_row,
    "together": lambda x, t: tf.gather(t[2], 10 * x[:, 0] + x[:, 1]),
    "fractions": lambda x, t: tf.gather(t[0], tf.cast(10 * x, tf.int32)),
    "one-hot": lambda x, _: tf.one_hot(x, 5),
    "one-hot upright": lambda x, _: tf.one_hot(x, 5, 2.0, -1.0, axis=1),
    "one-hot in octets": lambda x, _: tf.one_hot(tf.cast(x, tf.uint8), 5, dtype=tf.float64),
    "one-hot flags": lambda x, _: tf.one_hot(x, 5, True, False, dtype=tf.bool),
    "number": lambda x, _: tf.cast(x, tf.float32) / 100,
    "clip": lambda x, t: tf.gather(t[0], tf.clip_by_value(x, 0, 9)),
    "remainder": lambda x, t: tf.gather(t[0], x % 10),
    "choice": lambda x, t: tf.gather(t[0], tf.where((x >= 0) & (x < 10), x, 0)),
    "the largest": lambda x, t: tf.gather(t[1], tf.argmax(x, axis=-1)),
}


def spec(low: Any, high: Any, shape: tuple[int, ...] = (3,), dtype: Any = tf.int32) -> Any:
    return BoundedTensorSpec(shape, dtype, low, high, "observation")


def embedding(rows: int = 10) -> Any:
    """A look-up by a Keras layer."""
    return tf.keras.Sequential([tf.keras.layers.Embedding(rows, 2), tf.keras.layers.Flatten()])


def policy(layers: Any, observation: Any, recurrent: bool = False, action: Any = stock.CHOICE) -> Any:
    """A greedy DQN behind layers, which are one or a nest like the observation."""
    joined = tf.keras.layers.Concatenate() if isinstance(observation, dict) else None
    common: dict[str, Any] = {"preprocessing_layers": layers, "preprocessing_combiner": joined}
    if recurrent:
        network = QRnnNetwork(
            observation,
            action,
            **common,
            input_fc_layer_params=(4,),
            lstm_size=(4,),
            output_fc_layer_params=(4,),
        )
    else:
        network = QNetwork(observation, action, **common, fc_layer_params=stock.LAYER)
    optimizer = tf.keras.optimizers.legacy.Adam(1e-3)
    made = DqnAgent(time_step_spec(observation), action, q_network=network, optimizer=optimizer)
    return GreedyPolicy(stock.initialized(made).policy)
