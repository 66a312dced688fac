"""A connection over WebSocket (RFC 6455), for the load test.

In:      messages as masked frames, made by `frame`.
Out:     the messages of the server; the dialect says which of them are successes.
Refuses: a handshake that the server refuses (ServerUnreachable, with the server's words).

Only what a policy server sends is understood: whole messages, pings and a close.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from rlway_client.contract.errors import ServerUnreachable
from rlway_client.load.asker import Fault, Listener, quoted
from rlway_client.remote.http import Address

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL, MASKED = 0x80, 0x80
LONGEST_SHORT, TWO_BYTES, EIGHT_BYTES = 125, 126, 127
MASK = os.urandom(4)  # one for all messages: masks are against caches that mistake a message for HTTP

Judge = Callable[[int, bytes], Fault | None]  # opcode and payload of a message


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's message as one masked frame."""
    length = len(payload)
    if length <= LONGEST_SHORT:
        head = bytes((FINAL | opcode, MASKED | length))
    elif length < 1 << 16:
        head = bytes((FINAL | opcode, MASKED | TWO_BYTES)) + length.to_bytes(2, "big")
    else:
        head = bytes((FINAL | opcode, MASKED | EIGHT_BYTES)) + length.to_bytes(8, "big")
    key = np.frombuffer((MASK * (length // 4 + 1))[:length], np.uint8)
    return head + MASK + (np.frombuffer(payload, np.uint8) ^ key).tobytes()


class WebSocketAsker(asyncio.Protocol):
    """Reads the answer to the handshake, then frames."""

    def __init__(self, listener: Listener, handshake: bytes, judge: Judge, greets: bool) -> None:
        self.listener = listener
        self.open = False
        self.answer = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handshake = handshake
        self._judge = judge
        self._greets = greets  # whether the server sends a message of its own before the first request
        self._shaken = False
        self._rest = b""
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
        self._transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self._shaken:
            data = self._shake(data)
        if not self._shaken:
            return
        begin, size = 0, len(data)
        while size - begin >= 2:
            length = data[begin + 1]
            start = begin + 2
            if length > LONGEST_SHORT:
                start += 2 if length == TWO_BYTES else 8
                length = int.from_bytes(data[begin + 2 : start], "big") if start <= size else size
            end = start + length
            if end > size:
                break
            self._take(data[begin], data[start:end])
            begin = end
        self._rest = data[begin:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        why = str(exc or "the server closed it")
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError(why))
        self.listener.lost(why)

    def _shake(self, data: bytes) -> bytes:
        """Reads the answer to the handshake; returns what follows it."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._rest = data
            return b""
        status = head.split(b" ", 2)[1:2]
        if status != [b"101"]:
            answer = f"HTTP {status[0].decode('latin-1') if status else '?'}"
            self._fail(f"it refused the WebSocket with {answer}: {quoted(rest) if rest else 'no reason given'}.")
            return b""
        self._shaken = True
        if not self._greets:
            self._begin()
        return rest

    def _take(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode in (TEXT, BINARY) and first & FINAL:
            if self._greets and not self.open:
                self._greet(opcode, payload)
                return
            fault = self._judge(opcode, payload)
            if fault is None:
                self.answer = payload
            self.listener.answered(fault)
        elif opcode == PING:
            self.ask(frame(PONG, payload))
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self.close()
            self.listener.lost(f"the server closed it with code {code}: {quoted(payload[2:])}")
        elif opcode != PONG:
            self.close()
            self.listener.lost("the server sent a frame that is no whole message")

    def _greet(self, opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            self._begin()
        else:
            self._fail(f"it greeted with an error: {quoted(payload)}.")

    def _begin(self) -> None:
        self.open = True
        if not self.ready.done():
            self.ready.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ServerUnreachable(why))
        self.close()


async def connect_websocket(
    address: Address, path: str, authorization: str | None, listener: Listener, judge: Judge, *, greets: bool = False
) -> WebSocketAsker:
    """A new connection, after its handshake. Raises OSError, ServerUnreachable."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        f"GET {address.prefix}{path} HTTP/1.1",
        f"host: {host}:{address.port}",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if authorization is not None:
        lines.append(f"authorization: {authorization}")
    handshake = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
    loop = asyncio.get_running_loop()
    made: Any = lambda: WebSocketAsker(listener, handshake, judge, greets)  # noqa: E731
    transport, asker = await loop.create_connection(made, address.host, address.port, ssl=address.tls)
    try:
        await asker.ready
    except BaseException:
        transport.abort()
        raise
    found: WebSocketAsker = asker
    return found
