"""Keras networks through the command and from Python, and what Keras cannot build."""

from __future__ import annotations

import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_export.sources.keras.file import read_keras
from rlway_export.sources.keras.network import load_network
from tests.export import networks
from tests.export.conftest import Rlway
from tests.export.sources.keras.test_file import rewritten

pytestmark = pytest.mark.slow


def test_the_command_exports_a_network(tmp_path: Path, rlway: Rlway) -> None:
    """With one flag; the card and the manifest say what was assumed, and of what the files were made."""
    path = networks.save(networks.q_network(), tmp_path / "q_network.keras")
    words = ("--models", tmp_path / "models", "--policy", "p", "--formats", "onnx", "--as", "q_values")
    done = rlway("export", path, *words)
    assert done.status == 0, done.stderr
    assert "note: taken as its names suggest: the observation is seen, the action values (as q_values)." in done.stderr
    bundle = Bundle.open(tmp_path / "models/p/1")
    training = bundle.manifest.training
    assert (training["file"], training["producer"]) == ("q_network.keras", f"Keras {version('keras')}")
    card = (bundle.path / "README.md").read_text()
    assert f"A policy in the Keras network `q_network.keras`, which Keras {version('keras')} wrote" in card
    assert any("does not say the bounds of its observations" in note for note in bundle.manifest.notes)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [networks.q_network, networks.dueling, networks.recurrent, networks.of_one_row])
def test_both_forms_give_the_same_network(make: Any, suffix: str, tmp_path: Path) -> None:
    """With the same weights, without its optimizer."""
    network = make()
    network.compile("adam", "mse")
    loaded = load_network(read_keras(networks.save(network, tmp_path / f"q{suffix}")))
    rows = [tf.random.normal([5, *tensor.shape[1:]]) for tensor in network.inputs]
    given = rows if len(rows) > 1 else rows[0]
    for expected, found in zip(tf.nest.flatten(network(given)), tf.nest.flatten(loaded(given)), strict=True):
        tf.debugging.assert_near(expected, found)


class Noisy(tf.keras.layers.Layer):  # type: ignore[misc]
    """A layer of a program's own."""

    def call(self, seen: Any) -> Any:
        return seen + 1.0


def _with(layer: Any) -> Any:
    return tf.keras.Sequential([tf.keras.Input([4]), layer, tf.keras.layers.Dense(3)])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            lambda: tf.keras.layers.Lambda(lambda seen: seen * 2, name="double"),
            "its layer double is or has a Lambda layer",
        ),
        (lambda: tf.keras.layers.Dense(4, lambda seen: seen * 2, name="odd"), "its layer odd is or has a lambda"),
        (lambda: Noisy(name="noisy"), "its layer noisy is or has a Noisy, a class that is not Keras' own"),
    ],
)
def test_code_in_a_network_is_refused_with_its_layer(layer: Any, expected: str, suffix: str, tmp_path: Path) -> None:
    """As Keras itself writes it; also where the class happens to be known here."""
    path = networks.save(_with(layer()), tmp_path / f"q{suffix}")
    with tf.keras.utils.custom_object_scope({"Noisy": Noisy}), pytest.raises(ExportRefused, match=expected):
        rlway_export.export(path, tmp_path / "models", "p", meaning="logits")
    assert not (tmp_path / "models").exists()


def _config(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def _wider(config: Any, units: int) -> Any:
    config["config"]["layers"][1]["config"]["units"] = units
    return config


@pytest.mark.parametrize(
    ("units", "kind", "expected"),
    [
        (17, RunInvalid, "Keras cannot build it: "),
        (2**40, ExportRefused, r"expected at most 268,435,456 weights, got \d+,"),
        ("many", RunInvalid, "Keras cannot build it: "),
    ],
)
def test_a_description_that_does_not_fit_its_weights_is_refused(
    units: Any, kind: type[RlwayError], expected: str, tmp_path: Path
) -> None:
    """A layer of a trillion units is counted before it would take memory."""
    path = networks.save(networks.q_network(), tmp_path / "q.keras")
    odd = rewritten(path, tmp_path / "odd.keras", config=json.dumps(_wider(_config(path), units)))
    with pytest.raises(kind, match=expected):
        load_network(read_keras(odd))


def test_a_checkpoint_of_a_file_is_refused(tmp_path: Path) -> None:
    """It is one network."""
    path = networks.save(networks.q_network(), tmp_path / "q.keras")
    with pytest.raises(UsageError, match="is one network without checkpoints"):
        rlway_export.export(path, tmp_path / "models", "p", meaning="logits", checkpoint=3)
