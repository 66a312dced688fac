"""Launches actors as children of this process, for a training on one machine.

In:      the number of actors, the address of the replay, the environment.
Out:     so many processes. They end when this process ends, even if it is killed.
Refuses: ActorLost once an actor has ended before the training.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack

from rlway_client.contract.errors import RlwayError

ENDING_S = 10.0  # for an actor whose standard input has ended


class ActorLost(RlwayError):
    """An actor ended before the training did."""


class ActorLauncher:
    """Use it in `with`."""

    def __init__(self, n: int, address: str, env: str) -> None:
        self._n, self._address, self._env = n, address, env
        self._started: list[tuple[subprocess.Popen[bytes], tempfile._TemporaryFileWrapper[bytes]]] = []

    def __enter__(self) -> ActorLauncher:
        command = [sys.executable, "-m", "rlway_train.distributed.actor_main", self._address, self._env]
        with ExitStack() as stack:
            stack.callback(self._end)
            for number in range(1, self._n + 1):
                stderr = tempfile.NamedTemporaryFile()
                # An actor ends when its standard input does, and the kernel closes that even if this process is killed.
                # It has a session of its own, so that Ctrl-C reaches only this process.
                process = subprocess.Popen(
                    [*command, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,
                )
                self._started.append((process, stderr))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def check(self) -> None:
        """Raises ActorLost if an actor has ended."""
        for number, (process, stderr) in enumerate(self._started, start=1):
            status = process.poll()
            if status is not None:
                stderr.seek(0)
                lines = stderr.read().decode(errors="replace").strip().splitlines()
                why = lines[-1].removeprefix("rlway: ") if lines else f"exit status {status}"
                raise ActorLost(f"actor {number} of {self._n} ended: {why}")

    def _end(self) -> None:
        for process, _ in self._started:
            assert process.stdin is not None
            process.stdin.close()
        for process, stderr in self._started:
            try:
                process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            stderr.close()
