"""The programs of examples/, run as people run them: as they stand, with arguments that make them short."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.servers import running_server

EXAMPLES = ROOT / "examples"
SERVING_PYTHON = ROOT / ".venv/bin/python"
TRAINING_PYTHON = ROOT / ".venv-train/bin/python"
PATIENCE_S = 240.0


def run(*words: Any) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*words: Any) -> str:
    """The sentence with which a program ends."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_environment_is_played_by_a_server(models: Path, tmp_path: Path) -> None:
    """The client and the plain request get the same actions, so they play the same episodes."""
    with running_server(models, tmp_path / "log") as server:
        words = (SERVING_PYTHON, EXAMPLES / "remote_environment.py", "--url", server.url, "--episodes", 2)
        printed = run(*words)
        assert run(*words, "--plain") == printed
    assert len(re.findall(r"episode \d: return \d+", printed)) == 2


@pytest.mark.parametrize("plain", [[], ["--plain"]], ids=["client", "plain"])
def test_without_a_server_the_example_says_so(plain: list[str]) -> None:
    """Port 1 of this machine has no server."""
    words = (SERVING_PYTHON, EXAMPLES / "remote_environment.py", "--url", "http://127.0.0.1:1")
    assert "refused" in refused(*words, *plain).lower()


def test_a_robot_acts_at_a_fixed_rate(models: Path) -> None:
    """Each of its ticks comes; how late they are is up to the machine."""
    words = (SERVING_PYTHON, EXAMPLES / "edge_robot.py", models / "cartpole", "--rate-hz", 100, "--duration-s", 1)
    assert re.fullmatch(r"100 actions at 100 Hz: \d+ late, \d+ falls\n", run(*words))


def test_a_robot_without_its_policy_says_so(tmp_path: Path) -> None:
    """One sentence in place of a traceback."""
    assert str(tmp_path) in refused(SERVING_PYTHON, EXAMPLES / "edge_robot.py", tmp_path / "nothing")


def test_an_environment_of_ones_own_is_trained_in_exported_and_acted_in(tmp_path: Path) -> None:
    """A few thousand steps already teach more than nothing, and the files act as TensorFlow does."""
    words = ("--run", tmp_path / "run", "--models", tmp_path / "models", "--steps", 4000)
    printed = run(TRAINING_PYTHON, EXAMPLES / "own_environment.py", *words)
    random, trained = (float(found) for found in re.findall(r"mean return (-[\d.]+)", printed))
    assert trained > random
    assert re.findall(r"(\S+): 0 of \d+ actions differ", printed) == ["model.onnx", "model.tflite"]
    assert f"{tmp_path}/models/docking/1: the boat stops at" in printed


def test_the_policy_as_c_balances_the_pole(models: Path, tmp_path: Path) -> None:
    """Compiled by the example's Makefile, without a warning."""
    robot = tmp_path / "robot"
    run("make", "-C", EXAMPLES / "c_robot", f"POLICY={models}/cartpole/1", f"OUT={robot}")
    stood = re.fullmatch(r"cartpole, version 1: the pole stood for (\d+) of 500 steps\n", run(robot))
    assert stood is not None
    assert int(stood[1]) > 50  # a pole that is pushed at random falls after some 20


def test_the_c_of_the_page_on_robots_compiles(models: Path, tmp_path: Path) -> None:
    """With the header of a policy, without a warning."""
    page = (ROOT / "docs/robots.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    program = tmp_path / "loop.c"
    program.write_text(f"{block}\nint main(void) {{ const float seen[4] = {{0}}; return choose(seen); }}\n")
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
    run("cc", *flags, f"-I{models}/cartpole/1", "-c", program, "-o", tmp_path / "loop.o")
