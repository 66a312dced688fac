"""The command `rlway` as people and scripts use it: results on stdout, failures in one sentence on stderr."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.bundles import BIAS, WEIGHTS
from tests.clients.conftest import FAILED, MISUSED, Fail, Succeed
from tests.clients.remote.peers import answering, peer
from tests.servers import PATIENCE_S, RLWAY, Server

DEAD = "http://127.0.0.1:1"
needs_world_without_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("rlway_train") is not None, reason="this environment is the trainer's"
)


@pytest.mark.parametrize(
    ("words", "stdin", "outcome"),
    [
        (["--policy", "linear", "[-1,0,0,0]"], "", (0, "1\n", "")),
        (["-"], "[-1,0,0,0]", (0, "1\n", "")),
        (["[0,0,0]"], "", (1, "", "rlway: observation: expected float32[4], got 3 elements\n")),
    ],
    ids=["argument", "stdin", "refused"],
)
def test_the_installed_command_works(
    server: Server, words: list[str], stdin: str, outcome: tuple[int, str, str]
) -> None:
    """The script that pip installs: result on stdout, failure on stderr, and the exit status."""
    command = [str(RLWAY), "act", "--url", server.url, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == outcome


def test_act_prints_the_action(server: Server, succeed: Succeed) -> None:
    """One word, and nothing else."""
    assert succeed("act", "--url", server.url, "--policy", "linear", "[-1,0,0,0]") == "1\n"
    assert succeed("act", "--url", server.url, "[1, 0, 0, 0]") == "0\n"
    action = json.loads(succeed("act", "--url", server.url, "--policy", "gaussian", "[1,0,0,0]"))
    np.testing.assert_allclose(action, 2 * np.tanh(WEIGHTS[0]), rtol=1e-5)


def test_act_prints_the_whole_reply_as_json(server: Server, succeed: Succeed) -> None:
    """`action`, `version` and the outputs that were asked for."""
    words = ["act", "--url", server.url, "--json", "--output", "q_values", "[1,2,3,4]"]
    reply = json.loads(succeed(*words))
    assert (reply["action"], reply["version"]) == (0, 1)
    np.testing.assert_allclose(reply["outputs"]["q_values"], np.array([1, 2, 3, 4]) @ WEIGHTS + BIAS, rtol=1e-5)


def test_act_explores_by_a_seed(server: Server, succeed: Succeed) -> None:
    """`--epsilon 1 --seed` picks the same action each time."""
    words = ["act", "--url", server.url, "--epsilon", "1", "--seed", "3", "[9,0,0,0]"]
    assert succeed(*words) == succeed(*words)


@pytest.mark.parametrize(
    ("observation", "status", "word"),
    [
        ("[0,0,0", MISUSED, "OBSERVATION"),
        ("zero", MISUSED, "OBSERVATION"),
        ('{"x": 1}', FAILED, "observation"),
        ("[[0,0],[0]]", FAILED, "observation: expected an array of numbers, got rows of different lengths"),
        ('"0"', MISUSED, "OBSERVATION"),
        ("null", MISUSED, "OBSERVATION"),
        ("[0,0,0]", FAILED, "observation: expected float32[4], got 3 elements"),
        ("[0,0,0,NaN]", FAILED, "observation[3]"),
        ("[0,0,0,1e39]", FAILED, "observation[3]: expected finite float32"),
        ("[0,0,0,null]", FAILED, "observation"),
        ('[0,0,0,"1"]', FAILED, "observation"),
    ],
)
def test_act_says_what_is_wrong_with_an_observation(
    server: Server, observation: str, status: int, word: str, fail: Fail
) -> None:
    """Exits with 2 if it is not an array of numbers, with 1 if the policy refuses it; always in one sentence."""
    assert word in fail("act", "--url", server.url, observation, status=status)


@pytest.mark.parametrize(
    "words",
    [("act", "[0,0,0,0]"), ("bench", "--duration-s", "0.3"), ("play", "--env", "CartPole-v1", "--episodes", "1")],
    ids=lambda words: words[0],
)
def test_a_dead_server_is_named(words: tuple[str, ...], fail: Fail) -> None:
    """Nobody listens: the address, in one sentence."""
    assert DEAD in fail(*words, "--url", DEAD)


def test_a_server_that_never_answers_is_given_up(fail: Fail) -> None:
    """After `--timeout-s`, which the sentence names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert "0.2 s" in fail("act", "--url", url, "--timeout-s", "0.2", "[0,0,0,0]")


@pytest.mark.parametrize("words", [("act", "[0,0,0,0]"), ("bench",), ("play",)], ids=lambda words: words[0])
@pytest.mark.parametrize("body", [b"[]", b'{"default": "a"}', b'{"manifest": {"env": 3}, "default": "a"}', b"<html>"])
def test_a_server_of_another_kind_is_an_error(words: tuple[str, ...], body: bytes, fail: Fail) -> None:
    """Another service's port, another service's JSON."""
    with peer(answering(body)) as url:
        assert "policy" in fail(*words, "--url", url)


@pytest.mark.parametrize("words", [("act", "[0,0,0,0]"), ("bench",), ("play",)], ids=lambda words: words[0])
def test_the_error_for_an_unknown_policy_lists_the_names(server: Server, words: tuple[str, ...], fail: Fail) -> None:
    """One sentence has the name that was asked for, and those that are served."""
    sentence = fail(*words, "--url", server.url, "--policy", "nobody")
    assert "nobody" in sentence
    assert "linear" in sentence


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x"])
def test_a_malformed_url_is_misuse(url: str, fail: Fail) -> None:
    """Exit status 2."""
    assert url in fail("act", "--url", url, "[0,0,0,0]", status=MISUSED)


def test_bench_reports_throughput_and_latency(server: Server, succeed: Succeed) -> None:
    """The JSON keys that scripts rely on."""
    words = ["bench", "--url", server.url, "--policy", "linear", "--duration-s", "0.3", "--connections", "4", "--json"]
    load = json.loads(succeed(*words))
    assert load["errors"] == 0
    assert load["connections"] == 4
    assert 0 < load["achieved_rps"] <= load["offered_rps"]
    latencies = [load["latency_ms"][name] for name in ("p50", "p90", "p99", "p999", "max")]
    assert latencies == sorted(latencies)
    assert "actions/s" in succeed("bench", "--url", server.url, "--duration-s", "0.1", "--connections", "1")


def test_play_reports_returns(server: Server, succeed: Succeed) -> None:
    """Two episodes of CartPole with a policy of the right shape, the same for the same seeds."""
    words = ["play", "--url", server.url, "--policy", "linear", "--env", "CartPole-v1", "--episodes", "2", "--json"]
    played: list[dict[str, Any]] = [json.loads(succeed(*words, "--envs", envs)) for envs in ("1", "2")]
    assert played[0]["returns"] == played[1]["returns"]
    assert len(played[0]["returns"]) == 2
    assert played[0]["mean_return"] == np.mean(played[0]["returns"])
    assert played[0]["actions_per_s"] > 0


def test_near_names_are_suggested_for_an_unknown_environment(server: Server, fail: Fail) -> None:
    """A typing error is answered with the name that may have been meant."""
    words = ["play", "--url", server.url, "--policy", "linear", "--episodes", "1", "--env"]
    assert "CartPole-v1" in fail(*words, "CartPol-v1")
    assert "Linear-v0" in fail(*words[:-1])  # which the manifest names and gymnasium has not


def test_an_environment_of_another_shape_is_refused(server: Server, fail: Fail) -> None:
    """The terminal shows the fault that the server reported, with its path."""
    words = ["play", "--url", server.url, "--policy", "linear", "--env", "MountainCar-v0", "--episodes", "1"]
    assert "observation: expected float32[4], got 2 elements" in fail(*words)


def test_help_lists_the_commands(succeed: Succeed) -> None:
    """Those that are installed in this environment."""
    shown = succeed("--help")
    for command in ("inspect", "serve", "act", "play", "edge", "bench"):
        assert command in shown


@pytest.mark.parametrize("command", ["inspect", "serve", "act", "play", "edge", "bench"])
def test_every_command_has_help(command: str, succeed: Succeed) -> None:
    """`--help` with what the options mean."""
    assert "Usage" in succeed(command, "--help")


@needs_world_without_tensorflow
@pytest.mark.parametrize(
    ("command", "package"), [("train", "rlway-train"), ("env", "rlway-train"), ("export", "rlway-export")]
)
def test_a_command_that_is_not_installed_names_its_package(command: str, package: str, fail: Fail) -> None:
    """Instead of `no such command`, also when options follow."""
    said = fail(command, "--help", status=MISUSED)
    assert f"install '{package}' with pip or uv, or use rlway of .venv-train" in said


def test_debug_shows_the_traceback() -> None:
    """`--debug` anywhere on the line."""
    command = [str(RLWAY), "act", "--url", DEAD, "--debug", "[0,0,0,0]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == FAILED
    assert "Traceback" in done.stderr


@needs_world_without_tensorflow
def test_server_and_client_need_no_tensorflow() -> None:
    """It is not installed here, and importing the server and the client imports no part of it."""
    assert importlib.util.find_spec("tensorflow") is None
    program = (
        "import sys, rlway_client, rlway_serve.server, rlway_serve.cli, rlway_client.cli.main;"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tf_agents', 'keras', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
