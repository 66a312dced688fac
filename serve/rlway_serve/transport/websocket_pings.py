"""Pings to a silent WebSocket peer, and the end of one that does not answer.

In:      what was heard, and whether the connection reads and writes at all at this time.
Out:     `ping` is called when nothing was heard for PING_S; `abort` when nothing was heard for as long again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rlway_serve.transport.timeouts import GRACE_S

PING_S = 20.0


class PingTimer:
    """One connection's. A peer whose frames are not read at this time is not expected to be heard."""

    __slots__ = ("_abort", "_loop", "_ping", "_pinged", "_timer", "heard", "read_paused", "write_paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, ping: Callable[[], None], abort: Callable[[], None]) -> None:
        self._loop = loop
        self._ping = ping
        self._abort = abort
        self.heard = True  # since the last check
        self.read_paused = False
        self.write_paused = False  # the peer does not read its answers
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The connection is open."""
        self._timer = self._loop.call_later(PING_S, self._check)

    def stop(self) -> None:
        """Nothing more is expected of the peer."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, waited: bool = False) -> None:
        if not self.heard and (self._pinged or self.write_paused):
            if waited:
                self._abort()
            else:  # after a pause of the whole process, what came meanwhile is read first
                self._timer = self._loop.call_later(GRACE_S, self._check, True)
            return
        self._pinged = not self.heard and not self.read_paused
        if self._pinged:
            self._ping()
        self.heard = self.read_paused and not self.write_paused
        self._timer = self._loop.call_later(PING_S, self._check)
