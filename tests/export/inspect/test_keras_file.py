"""What `rlway inspect` tells of Keras networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from rlway_export.inspect.inspection import inspect_path
from tests.export.inspect.alike import refused_alike

pytestmark = pytest.mark.slow


def network(folder: Path, name: str = "network.keras") -> Path:
    """A Keras network of two layers, whose output says nothing of what it means."""
    layers = tf.keras.layers
    made = tf.keras.Sequential([layers.Input((4,)), layers.Dense(16, "relu"), layers.Dense(3, name="out")])
    made.save(folder / name)
    return folder / name


def test_a_keras_network_is_told_with_the_options_that_it_needs(tmp_path: Path) -> None:
    """As a file, and as a SavedModel that Keras wrote."""
    for name, kind in (("network.keras", "Keras"), ("network", "SavedModel")):
        path = network(tmp_path, name)
        report = inspect_path(path)
        assert report.kind == kind
        assert (report.written.by or "").startswith("Keras")
        assert report.memory is not None
        assert report.memory.parameters == 131
        assert report.export.flags[2:] == ["--action", "out", "--as", "MEANING"]
        assert "say it with --as" in refused_alike(report, path, tmp_path / "models")
    assert report.keras is None
    keras = inspect_path(tmp_path / "network.keras").keras
    assert keras is not None
    assert keras.layers["Dense"] == 2
