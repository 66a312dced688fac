"""The exporter beside a training: `rlway export --watch`, as a child of this process.

In:      the run folder, `models/NAME`, the environment that the user named.
Out:     a version for each better checkpoint. After the training it waits until all of them are published.
Refuses: UsageError before the training, if the exporter is not installed or the name is not valid; PublishingFailed
         after it, if a version could not be published.

The exporter only reads files. While the training runs, it never waits for the exporter. It continues if the exporter
dies.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.contract.manifest import check_policy_name
from rlway_client.envs.consent import is_code

COMMAND = [sys.executable, "-c", "from rlway_client.cli.main import main; main()", "export"]
NICENESS = 10  # the training has priority
ENDING_S = 10.0  # for an exporter that got SIGTERM


class PublishingFailed(RlwayError):
    """The run is complete, but not all of its bundles are."""


class Publisher:
    """Use it in `with`, around the training; without a destination it does nothing."""

    def __init__(self, run: Path, destination: Path | None, env: str | None = None) -> None:
        self._run, self._destination, self._env = run, destination, env
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        if destination is not None:
            if len(destination.parts) < 2:
                raise UsageError(f"--publish {destination}: expected a folder and a policy's name: models/NAME.")
            check_policy_name(destination.name)
            if find_spec("rlway_export") is None:
                raise UsageError("--publish: needs rlway-export, which is not installed here: pip install rlway-export")

    def __enter__(self) -> Publisher:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if kind is not None:
            self._end()
        else:
            self._finish()

    def _finish(self) -> None:
        """Waits until every kept checkpoint is published. If the exporter was killed, a new one continues."""
        assert self._process is not None
        if self._process.poll() is not None:
            self._start()
        try:
            status = self._wait()
            if status < 0:
                self._start()
                status = self._wait()
        except BaseException:
            self._end()
            raise
        if status:
            why = self._lines[-1].removeprefix("rlway: ").rstrip(".") if self._lines else f"exit status {status}"
            raise PublishingFailed(
                f"{self._run}: is trained, but not all published: {why}; go on with: {self._manual_command}"
            )

    @property
    def _arguments(self) -> list[str]:
        assert self._destination is not None
        models, policy = str(self._destination.parent), self._destination.name
        # The exporter opens the environment that the run names. If that is code, the user has to name it.
        named = ["--env", self._env] if self._env is not None and is_code(self._env) else []
        return [str(self._run), "--watch", "--models", models, "--policy", policy, *named]

    @property
    def _manual_command(self) -> str:
        return shlex.join(["rlway", "export", *self._arguments])

    def _start(self) -> None:
        if self._destination is None:
            return
        # It has a session of its own, so that Ctrl-C reaches only this process. The GPU belongs to the training.
        self._process = subprocess.Popen(
            [*COMMAND, *self._arguments, "--until-stdin-ends"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        self._forwarding = threading.Thread(target=self._forward, args=(self._process,), daemon=True)
        self._forwarding.start()

    def _forward(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line.strip())
            sys.stderr.write(line)  # in one write, so that no line of the training comes between
            sys.stderr.flush()

    def _wait(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait()
        self._forwarding.join()
        return status

    def _end(self) -> None:
        """Ends the exporter at once. It removes what it was writing."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
