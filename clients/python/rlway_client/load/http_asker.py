"""A connection over HTTP/1.1, for the load test.

In:      whole requests as bytes.
Out:     the body of an answer with status 200; any other status is a fault, which quotes the body.
Refuses: nothing; what is not HTTP ends the connection.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from rlway_client.load.asker import Fault, Listener, quoted
from rlway_client.remote.http import Address


class HttpAsker(asyncio.Protocol):
    """Kept alive as long as the server keeps it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.open = False
        self.answer = b""
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def ask(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but no subclass of it
        self.open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close()
            self.listener.lost(f"the answer is not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if status < 200:  # an interim answer
            return
        if not parser.should_keep_alive():
            self.open = False
        if status == 200:
            self.answer = body
            self.listener.answered(None)
        else:
            self.listener.answered(Fault(f"HTTP {status}", quoted(body)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.listener.lost(str(exc or "the server closed it"))


async def connect_http(address: Address, listener: Listener) -> HttpAsker:
    """A new connection. Raises OSError."""
    loop = asyncio.get_running_loop()
    _, asker = await loop.create_connection(lambda: HttpAsker(listener), address.host, address.port, ssl=address.tls)
    return asker
