"""The whole line with real processes: train and export with TensorFlow, serve and play without."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rlway_client import EdgePolicy, Explore, PolicyClient
from rlway_client.contract.run import read_run
from tests.conftest import ROOT, SERVE, TRAIN, export_run, run_command, run_json
from tests.servers import running_server


@pytest.fixture(scope="module")
def models(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, exported by the other environment's command."""
    return export_run(trained_run, tmp_path_factory.mktemp("e2e") / "models", "cartpole")


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    """A server over the exported policy, which exits with 0 in the end."""
    with running_server(models, models.with_name("log")) as server:
        yield server.url
        assert server.stop() == 0


def test_remote_environments_and_a_robot_see_the_same_policy(url: str, models: Path, trained_run: Path) -> None:
    """Twelve episodes from equal seeds go alike over HTTP and in process, far above random.

    Not exactly: where two Q-values differ by less than float32 can tell, ONNX and TFLite may choose different actions.
    """
    remote = run_json(SERVE, "play", "--url", url, "--policy", "cartpole", "--episodes", 12, "--envs", 3)
    edge = run_json(SERVE, "edge", models / "cartpole", "--episodes", 12)
    alike = [a == b for a, b in zip(remote["returns"], edge["returns"], strict=True)]
    assert sum(alike) >= 9
    run = read_run(trained_run)
    assert remote["mean_return"] > 2 * run.random_return


def test_the_server_and_the_tflite_file_agree_on_visited_observations(
    url: str, models: Path, trained_run: Path
) -> None:
    """Both give the same actions for 300 observations, greedy or sampled with one seed."""
    observations = np.load(trained_run / "observations.npz")["observation"][:300]
    edge = EdgePolicy(models / "cartpole")
    with PolicyClient(url, "cartpole") as policy:
        reply = policy.ask(observations, batched=True, outputs=("q_values",))
        clear = np.ptp(reply.outputs["q_values"], axis=1) > 1e-3  # further apart than float32 sums in another order
        assert clear.sum() > 250
        np.testing.assert_array_equal(reply.action[clear], [edge.act(row) for row in observations[clear]])
        explore = Explore(temperature=5.0)
        same = [
            policy.act(row, explore=explore, seed=seed) == edge.act(row, explore=explore, seed=seed)
            for seed, row in enumerate(observations[clear][:50])
        ]
        assert sum(same) >= 49


def test_a_policy_is_played_in_pybullet_where_it_is_installed(url: str, models: Path) -> None:
    """Over HTTP and in process in .venv-train; .venv says what is missing. PyBullet's CartPole fits the policy."""
    elsewhere = ("--env", "CartPoleBulletEnv-v1", "--episodes", 1)
    for words in (("play", "--url", url, "--policy", "cartpole"), ("edge", models / "cartpole")):
        assert run_json(TRAIN, *words, *elsewhere)["steps"] > 0
        done = run_command(SERVE, *words, *elsewhere)
        assert done.status == 2
        assert "needs PyBullet" in done.stderr
        assert "use rlway of .venv-train" in done.stderr


def test_the_served_manifest_is_that_of_the_bundle(url: str, models: Path) -> None:
    """What a client reads over the wire is what the exporter wrote."""
    with PolicyClient(url, "cartpole") as policy:
        assert policy.describe()["manifest"] == json.loads((models / "cartpole/1/manifest.json").read_text())


def test_the_readmes_curl_gets_an_action(url: str) -> None:
    """The README's own command, with another port."""
    readme = (ROOT / "README.md").read_text()
    command = next(line for line in readme.splitlines() if line.startswith("curl "))
    done = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:8080", url)], capture_output=True, text=True, timeout=120
    )
    assert set(json.loads(done.stdout)) == {"action", "version"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    """Interrupted while it trains, the demo ends its children, and no unfinished run looks finished."""
    demo = tmp_path / "demo.py"
    demo.write_bytes((ROOT / "demo.py").read_bytes())
    for environment in (".venv", ".venv-train"):
        (tmp_path / environment).symlink_to(ROOT / environment)
    process = subprocess.Popen(
        [sys.executable, str(demo)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # it trains
        if re.match(r"step ", line):
            break
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    process.stderr.read()  # ends when the last child that holds it has ended
    assert process.wait(120) == 128 + number
    assert not list(tmp_path.glob("runs/*/run.json"))
    assert not (tmp_path / "models").exists()
