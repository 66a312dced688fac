"""Recurrent Keras layers and other loops within a policy: every file acts as TF-Agents' policy does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import tensorflow as tf
from tf_agents.networks.q_network import QNetwork
from tf_agents.specs.tensor_spec import BoundedTensorSpec

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_export.bundle.writer import write_bundle
from rlway_export.formats.registry import parse_formats
from rlway_export.graphs.loops import MOST_ROUNDS
from rlway_export.sources.detect import open_source
from tests.export import stock

pytestmark = pytest.mark.slow

layers = tf.keras.layers
MEMORY: dict[str, Any] = {"return_state": True, "return_sequences": True}
LISTS = {"GRU", "Gather", "LSTM", "Loop", "RNN", "SequenceAt"}


def exported(policy: Any, folder: Path, formats: str) -> Bundle:
    source = open_source(stock.save(policy, folder / "source"), "best")
    return write_bundle(source, folder / "models", "loops", parse_formats(formats), lambda _: None)


def operations(bundle: Bundle) -> set[str]:
    """Those of its ONNX file."""
    return {node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node}


def seen_through(layer: Any, observation: Any) -> Any:
    """A DQN whose network begins with the layer."""
    stock.begin_alike()
    network = QNetwork(observation, stock.CHOICE, preprocessing_layers=layer, fc_layer_params=stock.LAYER)
    return stock.initialized(stock.dqn(network, observation)).policy


def test_recurrent_keras_layers_become_policy_state(tmp_path: Path) -> None:
    """Their states are inputs and outputs, and none of Keras' loops and lists is left."""
    cells = layers.StackedRNNCells([layers.LSTMCell(4), layers.SimpleRNNCell(3)])
    recurrent = [layers.GRU(6, **MEMORY), layers.RNN(cells, **MEMORY)]
    bundle = exported(stock.initialized(stock.sequential(recurrent)).policy, tmp_path, "onnx,tflite,c")
    assert [spec.shape for spec in bundle.manifest.state] == [(6,), (4,), (4,), (3,)]
    assert all(row.passed and row.state_difference is not None for row in bundle.manifest.parity)
    assert LISTS.isdisjoint(operations(bundle))


def test_a_recurrent_layer_reads_an_observed_sequence(tmp_path: Path) -> None:
    """It runs as many rounds as the observation has steps."""
    history = BoundedTensorSpec([5, 3], tf.float32, -2, 2, "observation")
    bundle = exported(seen_through(layers.LSTM(6), history), tmp_path, "onnx,tflite,c")
    assert [row.passed for row in bundle.manifest.parity] == [True] * 3
    assert {"Loop", "LSTM"}.isdisjoint(operations(bundle))


def test_a_loop_that_the_observation_ends_stays_a_loop(tmp_path: Path) -> None:
    """Its number of rounds depends on the observation: ONNX and TFLite have loops, C does not."""

    def halve(seen: Any) -> Any:
        return tf.while_loop(lambda x: tf.reduce_any(x > 0.5), lambda x: [tf.where(x > 0.5, x / 2, x)], [seen])[0]

    policy = seen_through(layers.Lambda(halve), stock.VECTOR)
    bundle = exported(policy, tmp_path / "both", "onnx,tflite")
    assert all(row.passed for row in bundle.manifest.parity)
    assert "Loop" in operations(bundle)
    with pytest.raises(ExportRefused, match=r"C: the operator Loop \(.*while_loop\) cannot be .*; leave c out"):
        exported(policy, tmp_path / "c", "c")


def test_a_sequence_that_is_too_long_to_be_written_out_stays_a_loop(tmp_path: Path) -> None:
    """ONNX has an operator for it."""
    history = BoundedTensorSpec([MOST_ROUNDS + 1, 2], tf.float32, -2, 2, "observation")
    assert "LSTM" in operations(exported(seen_through(layers.LSTM(3), history), tmp_path, "onnx"))
