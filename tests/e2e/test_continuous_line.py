"""The whole line for a policy with continuous actions: SAC on Pendulum, exported, served and played."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import EdgePolicy, Explore, PolicyClient
from rlway_client.contract.run import read_run
from tests.conftest import SERVE, export_run, run_json
from tests.servers import running_server


@pytest.fixture(scope="module")
def models(continuous_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, exported by the other environment's command."""
    return export_run(continuous_run, tmp_path_factory.mktemp("e2e") / "models", "pendulum")


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    """A server over the exported policy, which exits with 0 in the end."""
    with running_server(models, models.with_name("log")) as server:
        yield server.url
        assert server.stop() == 0


def test_remote_environments_and_a_robot_swing_the_pendulum_alike(url: str, models: Path, continuous_run: Path) -> None:
    """Six episodes with equal seeds return the same over HTTP and in process, far above random actions."""
    remote = run_json(SERVE, "play", "--url", url, "--policy", "pendulum", "--episodes", 6, "--envs", 3)
    edge = run_json(SERVE, "edge", models / "pendulum", "--episodes", 6)
    # Actions differ in their last digits, and an upright pendulum enlarges that a little.
    assert remote["mean_return"] == pytest.approx(edge["mean_return"], abs=30.0)
    assert remote["mean_return"] > read_run(continuous_run).random_return / 3


def test_an_action_is_an_array_of_the_actions_shape(url: str, models: Path, continuous_run: Path) -> None:
    """float32[1] from the client and from the robot's file, for one or many, equal but for rounding."""
    observations = np.load(continuous_run / "observations.npz")["observation"][:100]
    edge = EdgePolicy(models / "pendulum")
    with PolicyClient(url, "pendulum") as policy:
        many = policy.ask(observations, batched=True, outputs=("loc", "scale"))
        one = policy.act(observations[0])
    robot = np.array([edge.act(row) for row in observations])
    assert (one.shape, one.dtype, many.action.shape, robot.shape) == ((1,), np.float32, (100, 1), (100, 1))
    np.testing.assert_allclose(many.action, robot, atol=1e-4)
    np.testing.assert_allclose(many.action, 2 * np.tanh(many.outputs["loc"]), atol=1e-4)


def test_a_bundle_with_only_a_tflite_file_is_served_alike(url: str, models: Path, tmp_path: Path) -> None:
    """LiteRT takes the place of onnxruntime, for one row or many."""
    bundle = shutil.copytree(models / "pendulum" / "1", tmp_path / "models" / "pendulum" / "1")
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["model.onnx"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "model.onnx").unlink()
    observations = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    options: dict[str, Any] = {"batched": True, "outputs": ("loc", "scale"), "explore": Explore(sigma=1.0), "seed": 3}
    with running_server(tmp_path / "models", tmp_path / "log") as lite, PolicyClient(lite.url) as from_lite:
        assert from_lite.describe()["runtime"] == "litert"
        with PolicyClient(url, "pendulum") as from_onnx:
            ours, theirs = (policy.ask(observations, **options) for policy in (from_lite, from_onnx))
            assert from_lite.act(observations[0]) == pytest.approx(from_onnx.act(observations[0]), abs=1e-4)
    np.testing.assert_allclose(ours.action, theirs.action, atol=1e-4)
    for name in ("loc", "scale"):
        np.testing.assert_allclose(ours.outputs[name], theirs.outputs[name], atol=1e-4)


def test_a_seed_samples_the_same_action_everywhere(url: str, models: Path) -> None:
    """Sigma explores the trained distribution, with the caller's seed."""
    observation, explore = [1.0, 0.0, 0.5], Explore(sigma=1.0)
    edge = EdgePolicy(models / "pendulum")
    with PolicyClient(url, "pendulum") as policy:
        sampled = [policy.act(observation, explore=explore, seed=seed) for seed in range(20)]
    np.testing.assert_allclose(
        sampled, [edge.act(observation, explore=explore, seed=seed) for seed in range(20)], atol=1e-4
    )
    assert len({float(action[0]) for action in sampled}) > 10
