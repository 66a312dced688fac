"""The programs of this folder, each with the environment of its client.

In:      a program, where to ask, its tasks.
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


class Program(NamedTuple):
    """One way to ask through one client library."""

    client: str  # in words
    environment: str
    module: str
    transport: str  # the program's first word
    over: str  # "http", "grpc" or "ws": where it asks
    further: tuple[str, ...] = ()  # tasks that only this one knows

    def __str__(self) -> str:
        return self.transport


PROGRAMS = (
    Program("tritonclient http", ".venv", "asks_triton", "http", "http", ("outputs",)),
    Program("tritonclient http, JSON", ".venv", "asks_triton", "http-json", "http", ("outputs",)),
    Program("tritonclient grpc", ".venv", "asks_triton", "grpc", "grpc", ("outputs",)),
    Program("tritonclient grpc stream", ".venv", "asks_triton", "grpc-stream", "grpc", ("outputs",)),
    Program("KServe REST v1", ".venv-kserve", "asks_kserve", "rest-v1", "http"),
    Program("KServe REST v2", ".venv-kserve", "asks_kserve", "rest-v2", "http"),
    Program("KServe REST v2, JSON", ".venv-kserve", "asks_kserve", "rest-v2-json", "http"),
    Program("KServe gRPC", ".venv-kserve", "asks_kserve", "grpc", "grpc"),
    Program("KServe gRPC, contents", ".venv-kserve", "asks_kserve", "grpc-contents", "grpc"),
    Program("ovmsclient http", ".venv", "asks_ovms", "http", "http"),
    Program("ovmsclient grpc", ".venv", "asks_ovms", "grpc", "grpc"),
    Program("tensorflow-serving-api", ".venv-train", "asks_tensorflow_serving", "default", "grpc", ("outputs",)),
    Program("tensorflow-serving-api, action", ".venv-train", "asks_tensorflow_serving", "action", "grpc", ("outputs",)),
    Program("openpi WebsocketClientPolicy", ".venv-openpi", "asks_openpi", "policy", "ws"),
    Program("openpi ActionChunkBroker", ".venv-openpi", "asks_openpi", "broker", "ws"),
    Program("openpi Runtime", ".venv-openpi", "asks_openpi", "runtime", "ws"),
)
# Those whose clients walk episodes and send keys as one of the others does.
VARIANTS = ("http-json", "rest-v2-json", "grpc-contents", "action", "broker", "runtime")
DISTINCT = tuple(program for program in PROGRAMS if program.transport not in VARIANTS)


def programs_of(module: str) -> list[Program]:
    """All ways to ask through one library."""
    return [program for program in PROGRAMS if program.module == module]


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


class RunningProgram:
    """A program over its tasks, which `finish` waits for."""

    def __init__(
        self, program: Program, address: str, models: Path, folder: Path, tasks: Sequence[str], key: str | None
    ) -> None:
        environment = program.environment
        python = ROOT / environment / "bin/python"
        assert python.exists(), (
            f"{environment}: expected the client's environment, found none; `make {environment}/ready`"
        )
        self._client, self._folder, self._models = program.client, folder, models
        words = [program.transport, address, str(folder), *tasks]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        if key is not None:
            own["POLICY_KEY"] = key
        self._process = subprocess.Popen(
            [str(python), "-m", f"tests.foreign.{program.module}", *words],
            cwd=ROOT,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> Answers:
        """What the client got, once the program has ended."""
        with self._process as process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        assert process.returncode == 0, stderr
        lines = [json.loads(line) for line in stdout.splitlines() if line.startswith('{"task": ')]
        return Answers(self._client, self._folder, {line["task"]: line for line in lines}, self._models)
