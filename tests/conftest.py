"""What tests of several folders share: the commands of both environments, and two trained runs."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

USUAL = gc.get_threshold()
gc.set_threshold(100_000, 50, 50)  # while the tests' modules are imported: see `pytest_collection_finish`
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job, whose children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parents[1]
TRAIN = ROOT / ".venv-train/bin/rlway"
SERVE = ROOT / ".venv/bin/rlway"


def pytest_collection_finish() -> None:
    """Garbage is collected only among what the tests make; beside TensorFlow, which makes much of it, less often.

    The imports leave up to a million objects that stay. Python would look through them again and again, which takes an
    eighth of the time of a test that exports.
    """
    gc.freeze()
    gc.set_threshold(*((20_000, 20, 20) if "tensorflow" in sys.modules else USUAL))


class Finished(NamedTuple):
    """A command's status and output."""

    status: int
    stdout: str
    stderr: str


def run_command(command: Path, *words: Any, timeout_s: float = 600.0) -> Finished:
    """Runs `rlway …` of one environment to its end."""
    done = subprocess.run([str(w) for w in (command, *words)], capture_output=True, text=True, timeout=timeout_s)
    return Finished(done.returncode, done.stdout, done.stderr)


def run_json(command: Path, *words: Any) -> dict[str, Any]:
    """Runs `rlway … --json`, which must succeed, and returns what it prints."""
    done = run_command(command, *words, "--json")
    assert done.status == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def export_run(run: Path, models: Path, policy: str) -> Path:
    """Exports a run through the command, and returns the folder of bundles."""
    run_json(TRAIN, "export", run, "--models", models, "--policy", policy)
    return models


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, once for all processes that share the tests."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short CartPole training: much better than random, far from perfect. A test must not change it."""

    def train(folder: Path) -> None:
        done = run_command(
            TRAIN, "train", "dqn", "--preset", "cartpole", "--steps", 6000, "--no-films", "--run", folder
        )
        assert done.status == 0, done.stderr

    return made_once(tmp_path_factory, "cartpole", train)


def filmed_run(factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, a CartPole training with films, and `stdout` and `stderr`: what its command printed.

    The tests of training and those of exports share it, in all processes. A test must not change it.
    """

    def train(folder: Path) -> None:
        folder.mkdir()
        words = ["--preset", "cartpole", "--seed", 1, "--envs", 4, "--steps", 6000, "--eval-every", 1000, "--json"]
        done = run_command(TRAIN, "train", "dqn", *words, "--run", folder / "run")
        assert done.status == 0, done.stderr
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)

    return made_once(factory, "filmed", train)


@pytest.fixture(scope="session")
def continuous_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short Pendulum training with SAC: much better than random, not perfect. A test must not change it."""

    def train(folder: Path) -> None:
        words = (
            "--preset",
            "pendulum-sac",
            "--steps",
            5000,
            "--learning-rate-end",
            1e-3,
            "--confirm-episodes",
            0,
            "--no-films",
        )
        done = run_command(TRAIN, "train", "sac", *words, "--run", folder)
        assert done.status == 0, done.stderr

    return made_once(tmp_path_factory, "pendulum", train)
