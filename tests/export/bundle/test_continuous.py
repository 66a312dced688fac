"""What `rlway export` publishes from a SAC run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.exploration import Explore, draw_noise
from rlway_client.contract.interface import Draw
from rlway_client.contract.specs import AnyArray
from tests.export.bundle.model_card_commands import run_commands

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pendulum(continuous_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The SAC run, exported as the command does without options."""
    bundle = rlway_export.export(continuous_run, tmp_path_factory.mktemp("export") / "models", "pendulum")
    assert all(row.passed for row in bundle.manifest.parity)
    return Bundle.open(bundle.path)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_every_file_acts_as_the_saved_model_does(pendulum: Bundle, continuous_run: Path, sigma: float) -> None:
    """The same observation and noise give the same action in all three, greedy and sampled."""
    observations: AnyArray = np.load(continuous_run / "observations.npz")["observation"][:300]
    noise = draw_noise(Explore(sigma=sigma), 300, [Draw("normal", 1)], np.random.default_rng(5))
    saved_model = tf.saved_model.load(str(pendulum.path))  # its functions hold only weak references to its variables
    expected = {name: value.numpy() for name, value in saved_model.act(observations, noise).items()}
    session = ort.InferenceSession(pendulum.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"observation": observations, "noise": noise})
    act = tf.lite.Interpreter(str(pendulum.path / "model.tflite")).get_signature_runner("act")
    rows = [act(observation=o[None], noise=n[None]) for o, n in zip(observations, noise, strict=True)]
    assert names == ["action", "loc", "scale"]
    for name, onnx_value in zip(names, found, strict=True):
        np.testing.assert_allclose(onnx_value, expected[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([row[name] for row in rows]), expected[name], rtol=1e-4, atol=1e-5)


def test_the_onnx_graph_is_the_actor_and_nothing_else(pendulum: Bundle) -> None:
    """Three layers and the squashing are fifteen operations: no shape arithmetic, and no random numbers."""
    operations = [node.op_type for node in onnx.load(pendulum.path / "model.onnx").graph.node]
    assert set(operations) <= {"MatMul", "Gemm", "Add", "Relu", "Split", "Exp", "Min", "Mul", "Tanh"}
    assert len(operations) <= 15


def test_the_manifest_and_the_card_describe_a_continuous_policy(pendulum: Bundle) -> None:
    """Bounds, noise and outputs are the run's; the card says what noise does."""
    manifest = pendulum.manifest
    assert (manifest.algorithm, manifest.env) == ("sac", "Pendulum-v1")
    (action,) = manifest.actions
    assert (action.label, action.minimum, action.maximum) == ("float32[1]", -2.0, 2.0)
    card = (pendulum.path / "README.md").read_text()
    assert "A SAC policy for `Pendulum-v1`" in card
    assert "Standard normal noise samples the trained distribution." in card


def test_the_commands_of_the_card_work(pendulum: Bundle, tmp_path: Path) -> None:
    """Served, played over HTTP and in process, and verified, in gymnasium's environment."""
    assert run_commands([pendulum], tmp_path / "log") == [["serve", "play", "edge", "verify"]]
