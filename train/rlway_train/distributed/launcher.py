"""Actors as children of this process, for a training on one machine.

In:      how many, and the address of the replay.
Out:     so many processes, which end with this one however it ends.
Refuses: ActorLost once one of them has ended by itself.
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
                # They end when their standard input does: the kernel closes it even if we are killed. In a session of
                # their own, Ctrl-C reaches them through us alone.
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
        """Raises when one is gone."""
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
