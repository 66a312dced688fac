"""The whole line for a policy that somebody else saved: it samples actions of several parts, and is served."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rlway_client import EdgePolicy, Explore, PolicyClient
from rlway_client.contract.bundle import Bundle
from tests.conftest import ROOT, SERVE, TRAIN, run_command, run_json
from tests.servers import running_server

OBSERVATION = [0.1, -0.5, 0.3, 1.0]
GREEDY = Explore(temperature=0.0, sigma=0.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PPO's collect policy with a dict of actions, exported so that a server samples it."""
    place = tmp_path_factory.mktemp("foreign")
    saver = [
        TRAIN.with_name("python"),
        "-m",
        "tests.export.save_policy",
        "ppo-mixed",
        "collect_policy",
        place / "theirs",
    ]
    subprocess.run([str(word) for word in saver], cwd=ROOT, check=True, capture_output=True)
    words = ("--models", place / "models", "--policy", "hand", "--actions", "sampled", "--formats", "onnx,tflite,c")
    done = run_command(TRAIN, "export", place / "theirs", *words)
    assert done.status == 0, done.stderr
    return place / "models"


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    with running_server(models, models.with_name("log")) as server:
        yield server.url
        assert server.stop() == 0


def test_the_source_and_the_files_draw_alike(models: Path) -> None:
    """The manifest has the tests, the draws of each kind, and what a server does."""
    manifest = Bundle.open(models / "hand/1").manifest
    assert {draw.distribution for draw in manifest.draws} == {"gumbel", "normal"}
    assert manifest.explore == Explore(temperature=1.0, sigma=1.0)
    assert manifest.sampling is not None
    assert manifest.sampling.p_value is not None
    assert manifest.sampling.tests >= 4


def test_a_server_samples_unless_it_is_asked_not_to(url: str, models: Path) -> None:
    """Every part of the action, with a seed as on a robot, and greedily where the noise is zero."""
    robot = EdgePolicy(models / "hand")
    with PolicyClient(url, "hand") as policy:
        drawn = [policy.act(OBSERVATION) for _ in range(20)]
        seeded = [policy.act(OBSERVATION, seed=seed) for seed in range(5)]
        greedy = [policy.act(OBSERVATION, explore=GREEDY) for _ in range(2)]
    keys = {spec.path[0] for spec in Bundle.open(models / "hand/1").manifest.actions}
    assert all(set(action) == keys for action in (*drawn, *seeded, *greedy))
    (continuous,) = (spec.path[0] for spec in robot.manifest.actions if not spec.is_discrete)
    assert len({tuple(np.ravel(action[continuous])) for action in drawn}) == 20
    for seed, action in enumerate(seeded):
        expected = robot.act(OBSERVATION, seed=seed)
        for key in keys:
            np.testing.assert_allclose(action[key], expected[key], atol=1e-5)
    for key in keys:
        np.testing.assert_array_equal(greedy[0][key], greedy[1][key])
        np.testing.assert_allclose(greedy[0][key], robot.act(OBSERVATION, explore=GREEDY)[key], atol=1e-5)


def test_rlway_act_and_verify_know_several_parts(url: str, models: Path) -> None:
    """From the command line, in the environment without TensorFlow."""
    answer = run_json(SERVE, "act", "--url", url, "--policy", "hand", str(OBSERVATION))
    assert set(answer["action"]) == {spec.path[0] for spec in Bundle.open(models / "hand/1").manifest.actions}
    done = run_command(SERVE, "verify", models / "hand/1", "--compile-c")
    assert done.status == 0, done.stderr
