"""The time-outs of one connection: how long it may be idle, and how long a request may take to arrive.

In:      when bytes arrived, and whether a request is unfinished.
Out:     `on_slow` is called when a request's headers or body take too long, `on_idle` after `keep_alive_s` of silence.

A request that arrives in one packet sets no timer. The idle timer checks `active_s` when it expires, and is set again.
The timer for slow requests is set only when a packet ends within a request. After a pause of the whole process, expired
timers run before the bytes that arrived during the pause are read. So each timer waits `GRACE_S` more before it acts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rlway_client.contract.errors import RequestTimeout
from rlway_serve.settings import Settings

GRACE_S = 0.1


class ConnectionTimeouts:
    """The two timers of one connection: the idle timer always runs, the other while a request is unfinished."""

    __slots__ = ("_awaited", "_idle", "_loop", "_on_idle", "_on_slow", "_settings", "_slow", "active_s")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        on_idle: Callable[[], bool],
        on_slow: Callable[[RequestTimeout], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_idle = on_idle  # returns whether to check again later
        self._on_slow = on_slow
        self.active_s = time.perf_counter()  # of the last activity; the connection sets it
        self._idle = loop.call_later(settings.keep_alive_s, self._check_idle)
        self._slow: asyncio.TimerHandle | None = None
        self._awaited: tuple[int, bool] | None = None  # the unfinished request: its number, and whether in its headers

    def wait_for(self, request: int, in_headers: bool) -> None:
        """Starts the timer for the unfinished request with this number, unless it runs for the same part already."""
        if self._awaited == (request, in_headers):
            return
        self.cancel_slow_timer()
        self._awaited = (request, in_headers)
        limit_s = self._settings.header_timeout_s if in_headers else self._settings.body_timeout_s
        self._slow = self._loop.call_later(limit_s, self._allow_grace, "headers" if in_headers else "body", limit_s)

    def cancel_slow_timer(self) -> None:
        """Cancels the timer for slow requests: no request is unfinished."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = self._awaited = None

    def end(self) -> None:
        self._idle.cancel()
        self.cancel_slow_timer()

    def _allow_grace(self, part: str, limit_s: float) -> None:
        self._slow = self._loop.call_later(GRACE_S, self._give_up, part, limit_s)

    def _give_up(self, part: str, limit_s: float) -> None:
        self._slow = self._awaited = None
        self._on_slow(RequestTimeout(f"{part}: expected their end within {limit_s:g} s of their beginning."))

    def _check_idle(self, waited: bool = False) -> None:
        keep_alive_s = self._settings.keep_alive_s
        rest_s = self.active_s + keep_alive_s - time.perf_counter()
        if rest_s <= 0 and not waited:
            self._idle = self._loop.call_later(GRACE_S, self._check_idle, True)
        elif rest_s > 0 or self._on_idle():
            self._idle = self._loop.call_later(rest_s if rest_s > 0 else keep_alive_s, self._check_idle)
