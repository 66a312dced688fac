"""Lingering close: keeps reading for a while after the last answer of a connection, so that the answer arrives.

In:      a connection whose last answer is written, and whose peer may still be sending.
Out:     the end of the stream behind the answer. The connection ends once the peer has closed it, has been silent for
         QUIET_S, or has sent for `limit_s` or MAX_BYTES more.
Refuses: nothing. What comes is discarded.

Closing a socket before everything sent to it has been read sends a reset. The peer's system then discards what its
program has not read yet, including the answer (RFC 9112, section 9.6). Many clients, urllib and nginx among them, send
a whole body before they read the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

QUIET_S = 2.0
MAX_BYTES = 256 * 1024 * 1024


class Lingering(asyncio.Protocol):
    """Takes the place of a connection's protocol, and tells it when the connection is lost."""

    def __init__(self, before: asyncio.BaseProtocol, transport: asyncio.Transport, live: set[Any], limit_s: float):
        self._before = before
        self._transport = transport
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._limit_s = limit_s
        self._taken_s = self._loop.time()  # when the peer last read from its answers
        self._until_s = self._taken_s + limit_s
        self._spare_bytes = MAX_BYTES
        self._unsent_bytes = transport.get_write_buffer_size()
        self._heard = False  # whether the peer has sent anything since the last check
        self._timer = self._loop.call_later(min(QUIET_S, limit_s), self._check)
        live.discard(before)
        live.add(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._spare_bytes -= len(data)
        if self._spare_bytes < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._live.discard(self)
        self._before.connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: a peer that only sends has QUIET_S more; one that still reads its answers may finish."""
        self._until_s = min(self._until_s, self._loop.time() + QUIET_S)

    def _check(self) -> None:
        now_s, unsent_bytes = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent_bytes < self._unsent_bytes:
            self._taken_s = now_s
        takes = unsent_bytes and now_s < self._taken_s + self._limit_s
        sends = not unsent_bytes and self._heard and now_s < self._until_s
        if not (takes or sends):
            self._transport.abort()
            return
        self._heard, self._unsent_bytes = False, unsent_bytes
        self._timer = self._loop.call_later(min(QUIET_S, self._limit_s), self._check)


def linger(
    before: asyncio.BaseProtocol, transport: asyncio.Transport, live: set[Any], limit_s: float, stopping: bool
) -> Lingering | None:
    """Takes over the connection of `before`, whose last answer is written. `live` holds the server's connections.

    Returns None for TLS, whose transport lingers by itself.
    """
    if not transport.can_write_eof():  # TLS: its close waits for the peer, up to the listener's shutdown time-out
        transport.close()
        return None
    lingering = Lingering(before, transport, live, limit_s)
    if stopping:
        lingering.shutdown()
    transport.set_protocol(lingering)
    transport.write_eof()
    transport.resume_reading()
    return lingering
