"""A server in the test's own event loop, whose answers the test holds back.

In:      HTTP requests without a body.
Out:     an answer for each, as soon as the gate is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rlway_client.contract.parity import Arrays
from rlway_client.load.asker import Asker, Episode, Listener
from rlway_client.load.http_asker import connect_http
from rlway_client.remote.http import Address

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Stalling:
    """`gate` holds all answers while it is not set; `answers` are sent in turn, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen = 0
        self.connections = 0
        self.port = 0
        self._answers = answers or (OK,)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.seen += 1
                answer = self._answers[min(self.seen, len(self._answers)) - 1]
                await self.gate.wait()
                if not answer:
                    break
                writer.write(answer)
                if b"connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def stalling(*answers: bytes) -> AsyncIterator[Stalling]:
    """Listens on a free port. An empty answer closes the connection without one."""
    server = Stalling(*answers)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


class Bare:
    """A dialect of requests without a body."""

    names_episodes = False
    count = 3

    def __init__(self, port: int) -> None:
        self._address = Address.parse(f"http://127.0.0.1:{port}")

    def request(self, place: int, episode: Episode | None) -> bytes:  # noqa: ARG002
        return self._address.request("GET", f"/{place}")

    async def connect(self, listener: Listener) -> Asker:
        return await connect_http(self._address, listener)

    def read(self, answer: bytes) -> Arrays:  # noqa: ARG002
        return {}
