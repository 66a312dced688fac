"""Pings to a silent WebSocket peer, and the end of one that does not answer.

In:      whether the peer has sent anything, and whether reading or writing is paused.
Out:     `ping` is called when the peer has sent nothing for PING_S; `abort` after another PING_S of silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rlway_serve.transport.timeouts import GRACE_S

PING_S = 20.0


class PingTimer:
    """The pings of one connection. While only reading is paused, the peer counts as heard."""

    __slots__ = ("_abort", "_loop", "_ping", "_pinged", "_timer", "heard", "read_paused", "write_paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, ping: Callable[[], None], abort: Callable[[], None]) -> None:
        self._loop = loop
        self._ping = ping
        self._abort = abort
        self.heard = True  # whether the peer has sent anything since the last check
        self.read_paused = False
        self.write_paused = False  # the peer does not read its answers
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins the checks, when the connection is open."""
        self._timer = self._loop.call_later(PING_S, self._check)

    def stop(self) -> None:
        """Ends the checks: nothing more is expected of the peer."""
        if self._timer is not None:
            self._timer.cancel()
        self._ping = self._abort = _nothing  # no longer refers to the connection, which can then be freed at once

    def _check(self, waited: bool = False) -> None:
        if not self.heard and (self._pinged or self.write_paused):
            if waited:
                self._abort()
            else:  # after a pause of the whole process, bytes that arrived during the pause are read first
                self._timer = self._loop.call_later(GRACE_S, self._check, True)
            return
        self._pinged = not self.heard and not self.read_paused
        if self._pinged:
            self._ping()
        self.heard = self.read_paused and not self.write_paused
        self._timer = self._loop.call_later(PING_S, self._check)


def _nothing() -> None:
    """What a stopped timer calls."""
