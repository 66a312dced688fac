"""Runs the programs of this folder in the environments of their clients.

In:      a program, its client's environment, its words, its tasks.
Out:     `Answers`: the line of JSON of each task, and the arrays that it recorded.
Refuses: a program that does not end in PATIENCE_S, or that fails before its tasks; a missing environment.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.conftest import ROOT

PATIENCE_S = 300.0
TASKS = ("cartpole", "pendulum", "episodes", "pictures", "robot", "refused", "described")


class Answers(NamedTuple):
    """What a client got."""

    client: str  # in words
    folder: Path
    facts: dict[str, dict[str, Any]]  # by task
    models: Path

    def of(self, task: str) -> dict[str, Any]:
        """The facts of a task that succeeded."""
        facts = self.facts[task]
        assert "error" not in facts, f"{facts['error']}\n{facts['traceback']}"
        return facts

    def arrays(self, task: str) -> dict[str, Any]:
        """What a task that succeeded recorded."""
        self.of(task)
        with np.load(self.folder / f"{task}.npz") as recorded:
            return dict(recorded)


def run_program(
    client: str,
    environment: str,
    program: str,
    words: Sequence[str],
    models: Path,
    folder: Path,
    further: Sequence[str],
) -> Answers:
    """Runs one program over all tasks."""
    python = ROOT / environment / "bin/python"
    assert python.exists(), f"{environment}: expected the client's environment, found none; `make {environment}/ready`"
    command = [str(python), "-m", f"tests.foreign.{program}", *words, str(folder), *TASKS, *further]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"task": ')]
    return Answers(client, folder, {line["task"]: line for line in lines}, models)
