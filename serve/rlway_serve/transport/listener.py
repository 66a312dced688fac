"""Accepts connections from a listening socket, also when the system runs out of open files.

In:      a listening socket, a function that makes a connection's protocol, TLS.
Out:     connections on the event loop.
Refuses: nothing. While the table of open files is full, or the server holds as many connections as it may, further
         ones wait in the kernel's backlog until there is room. The log reports a full table, once a minute at most.

uvloop's own server would close such connections. Once its reserve descriptor is used up, it would poll for them without
a pause.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import ssl
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import Any

from rlway_serve.system.open_files import EXHAUSTED
from rlway_serve.transport.http_connection import HttpConnection

AT_ONCE = 64  # connections taken before others are read from
PAUSE_S = 0.1
REPORT_S = 60.0  # between two lines in the log
SPARE = 64  # connections accepted beyond `max_connections`, to be refused with TooManyConnections
NO_ROOM = (*EXHAUSTED, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger(__name__)


class Listener:
    """Accepts from one listening socket, and has the methods that uvicorn calls on a server.

    `served` holds the open connections; `max_connections` is how many of them may be served.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], HttpConnection],
        served: Sized,
        tls: ssl.SSLContext | None,
        max_connections: int,
        handshake_timeout_s: float,
        shutdown_timeout_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._served = served
        self._max_connections = max_connections
        self._options: dict[str, Any] = {}
        if tls is not None:  # on close, a connection sends close_notify, and reads until the peer has sent its own
            self._options = {"ssl": tls, "ssl_handshake_timeout": handshake_timeout_s}
            self._options["ssl_shutdown_timeout"] = shutdown_timeout_s
        self._entering: set[asyncio.Task[None]] = set()  # of accepted connections; they mostly wait for TLS handshakes
        self._closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._reported_s = -math.inf  # when the log last reported a full table; loop time
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Takes no more connections."""
        if self._pause is None:
            self._loop.remove_reader(self._listener)
        else:
            self._pause.cancel()
        self._listener.close()
        self._closed = True

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: uvicorn waits for the connections."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if len(self._served) + len(self._entering) >= self._max_connections + SPARE:
                self._wait_for_room()
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._report(error)
                    self._wait_for_room()
                    return
                continue  # this one has gone already
            task = self._loop.create_task(self._enter(connection))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with suppress(OSError, TimeoutError):  # the peer has gone, or its TLS handshake failed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, protocol = await self._loop.connect_accepted_socket(self._make_protocol, connection, **self._options)
            if self._closed:
                protocol.shutdown()  # the server has called it on all other connections already
            return
        connection.close()

    def _report(self, error: OSError) -> None:
        if self._loop.time() - self._reported_s >= REPORT_S:
            self._reported_s = self._loop.time()
            log.error("connections have to wait: %s; a lower --max-connections leaves room.", error.strerror)

    def _wait_for_room(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)
        self._accept()
