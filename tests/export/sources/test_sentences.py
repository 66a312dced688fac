"""Refusals of a policy are one readable sentence, however long the names in it are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.ddpg.actor_network import ActorNetwork
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.random_tf_policy import RandomTFPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step_spec

from rlway_client.common.quote import named, reason, short_name
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.specs import TensorSpec
from rlway_export.bundle.writer import write_bundle
from rlway_export.formats.c.source import write_c
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.conftest import MOST
from tests.export.formats.c.c_policies import make_manifest, model, node

pytestmark = pytest.mark.slow

LONG = "layer_" * 60
layers = tf.keras.layers


def seen_through(function: Any, observation: Any = stock.VECTOR, name: str = LONG) -> Any:
    """A DQN whose network begins with the function."""
    layer = layers.Lambda(function, name=name)
    stock.begin_alike()
    network = QNetwork(observation, stock.CHOICE, preprocessing_layers=layer, fc_layer_params=(8,))
    return stock.initialized(stock.dqn(network, observation)).policy


def betainc(seen: Any) -> Any:
    halves = tf.sigmoid(seen)
    return tf.math.betainc(halves, halves, halves)


def smaller(dtype: Any) -> Any:
    return lambda seen: tf.cast(tf.minimum(tf.cast(seen, dtype), tf.cast(seen + 1, dtype)), tf.float32)


def strict(seen: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_less(seen, 2.1)]):  # the training's bounds are narrower
        return tf.identity(seen)


def pushes(dtype: Any) -> Any:
    """A continuous policy with actions of the type."""
    action = BoundedTensorSpec([2], dtype, [-1, -2], [1, 3], "action")
    actor = ActorNetwork(stock.VECTOR, action, fc_layer_params=(8,))
    return ActorPolicy(time_step_spec(stock.VECTOR), action, actor_network=actor)


def random() -> Any:
    return RandomTFPolicy(time_step_spec(stock.VECTOR), stock.CHOICE)


def words() -> Any:
    """A policy that observes text, under a long key."""
    spec = {LONG: tf.TensorSpec([2], tf.string), "b": stock.VECTOR}
    return RandomTFPolicy(time_step_spec(spec), stock.CHOICE)


REFUSED: dict[str, tuple[Any, str, str]] = {
    "a policy that draws otherwise": (
        lambda: seen_through(lambda seen: tf.nn.dropout(seen, 0.5)),
        "onnx",
        r"draws by RandomUniform in ….*layer_/dropout/random_uniform/RandomUniform; expected normal .*Greedy",
    ),
    "a policy at random": (random, "onnx", "draws by RandomUniformInt in random_uniform; expected normal numbers"),
    "no operation in ONNX": (lambda: seen_through(betainc), "onnx", r"ONNX: .* Betainc, which ….*layer_/Betainc is"),
    "no operation in TFLite": (
        lambda: seen_through(betainc),
        "tflite",
        r"TFLite: has no operation for Betainc, which ….*layer_/Betainc is made of; leave the formats of TFLite out",
    ),
    "float64 in TFLite": (
        lambda: pushes(tf.float64),
        "tflite",
        r"TFLite: has no operation for Minimum of float64, which clip_by_value/Minimum is made of; try onnx instead\.",
    ),
    "float64 in TFLite Micro": (lambda: pushes(tf.float64), "tflm", "TFLite: .* Minimum of float64, .*; try onnx"),
    "float16 in C": (
        lambda: seen_through(smaller(tf.float16)),
        "c",
        r"C: the value ….* is of float16, which C source is not written for; leave c out",
    ),
    "float16 in TFLite": (
        lambda: seen_through(smaller(tf.float16)),
        "tflite-fp16",
        r"Minimum of float16, which ….*; try",
    ),
    "int16 in onnxruntime": (
        lambda: seen_through(smaller(tf.int16)),
        "onnx",
        r"model\.onnx: onnxruntime cannot load it: .* implementation for Min.*; leave onnx out of --formats",
    ),
    "text": (words, "onnx", r"…(ayer_)?(layer_)+ is of string; only numbers can be exported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_that_cannot_be_exported_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    """What is wrong with it and what would help; nothing is published. The length is checked for all tests here."""
    make, formats, expected = REFUSED[case]
    source = open_source(stock.save(make(), tmp_path / "source"), "best")
    with pytest.raises(ExportRefused, match=expected) as refusal:
        write_bundle(source, tmp_path / "models", "p", parse_formats(formats), lambda _: None)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path / "models") not in str(refusal.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("make", [lambda: pushes(tf.float64), lambda: seen_through(smaller(tf.float16))])
def test_what_tflite_has_no_type_for_is_exported_to_onnx(make: Any, tmp_path: Path) -> None:
    """As the refusal says."""
    source = open_source(stock.save(make(), tmp_path / "source"), "best")
    bundle = write_bundle(source, tmp_path / "models", "p", parse_formats("onnx"), lambda _: None)
    assert Bundle.open(bundle.path).manifest.parity[0].passed


def test_observations_can_be_given_where_samples_fail(tmp_path: Path) -> None:
    """Without its specs the policy's bounds are unknown; the remedy in the refusal works."""
    source = open_source(stock.save(seen_through(strict), tmp_path / "source"), "best")
    (tmp_path / "source/policy_specs.pbtxt").unlink()
    with pytest.raises(
        ExportRefused, match=r"cannot act on .*: assertion failed.*; give some that it takes, with --obs"
    ):
        write_bundle(source, tmp_path / "models", "p", [], lambda _: None)
    rows = tmp_path / "rows.npz"
    np.savez(rows, observation=np.random.default_rng(0).uniform(-1, 1, (50, 4)))
    bundle = write_bundle(source, tmp_path / "models", "p", [], lambda _: None, observations=rows)
    assert bundle.manifest.compared_over == "given"


@pytest.mark.parametrize(
    ("constants", "operator", "expected"),
    [
        ({}, "Hardmax", "the operator Hardmax"),
        ({"w": np.full((3, 4), np.nan, np.float32)}, "MatMul", "NaN"),
        ({}, "Neg", "float16"),
    ],
)
def test_a_node_with_a_long_name_is_named_by_its_end(
    constants: Any, operator: str, expected: str, tmp_path: Path
) -> None:
    """In C: the operator, a constant, a value of another type."""
    manifest = make_manifest(observation=[TensorSpec("observation", (3 if constants else 4,), "float32")], noise=None)
    nodes = [node(operator, "observation", *constants)]
    if operator == "Neg":
        nodes = [node("Cast", "observation", out=LONG, to=10), node("Cast", LONG, to=1)]
    nodes[0].name = LONG
    made = model(nodes, constants, manifest)
    with pytest.raises(ExportRefused, match=f"C: .*{expected}"):
        write_c(made, manifest, tmp_path)


def test_arrays_with_long_names_are_named_by_their_ends(tmp_path: Path) -> None:
    """Those that a file of observations lacks."""
    policy = stock.initialized(stock.keyed({LONG: stock.VECTOR, "z": stock.VECTOR})).policy
    source = open_source(stock.save(policy, tmp_path / "source"), "best")
    rows = tmp_path / "rows.npz"
    np.savez(rows, z=np.zeros((9, 4)))
    with pytest.raises(UsageError, match=r"has no array ….*layer_; expected the arrays observation_.*… \(2 in all\)"):
        write_bundle(source, tmp_path / "models", "p", [], lambda _: None, observations=rows)


def test_messages_of_libraries_become_one_short_line() -> None:
    """The first line with words in it; a name keeps its end, a list its beginning."""
    assert reason(ValueError("\n  no\tsuch   thing:\nat all")) == "no such thing"
    assert reason(KeyError()) == "KeyError"
    assert reason("x" * 500).endswith("x…")
    assert len(reason("x" * 500)) == 110
    assert short_name("a/b") == "a/b"
    assert short_name("a\nb\x1b[0m") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[0m"
    assert short_name(LONG).endswith("layer_layer_")
    assert named(["a", "b"]) == "a, b"
    assert named([LONG, "b"]).endswith("… (2 in all)")
    assert max(map(len, (short_name(LONG), named([LONG, "b"])))) < MOST / 2
