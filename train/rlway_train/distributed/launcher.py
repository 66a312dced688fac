"""Launches actors as children of this process, for a training on one machine.

In:      the number of actors, the address of the replay, the environment.
Out:     so many processes. They end when this process ends, even if it is killed.
Refuses: ActorLost once an actor has ended by itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack

from rlway_client.contract.errors import RlwayError

ENDING_S = 10.0  # for an actor that has been told to end


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
                said = tempfile.NamedTemporaryFile()
                # Actors end when their standard input does, and the kernel closes it even if we are killed. They have
                # their own session, so that Ctrl-C reaches only us.
                started = subprocess.Popen(
                    [*command, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
                self._started.append((started, said))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def check(self) -> None:
        """Raises ActorLost if an actor has ended."""
        for number, (started, said) in enumerate(self._started, start=1):
            status = started.poll()
            if status is not None:
                said.seek(0)
                words = said.read().decode(errors="replace").strip().splitlines()
                why = words[-1].removeprefix("rlway: ") if words else f"exit status {status}"
                raise ActorLost(f"actor {number} of {self._n} ended: {why}")

    def _end(self) -> None:
        for started, _ in self._started:
            assert started.stdin is not None
            started.stdin.close()
        for started, said in self._started:
            try:
                started.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
            said.close()
