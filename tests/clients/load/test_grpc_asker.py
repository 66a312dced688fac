"""Calls over gRPC, against a bare server of the package's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from rlway_client.contract.errors import ServerUnreachable
from rlway_client.contract.parity import Arrays
from rlway_client.load import event_loop
from rlway_client.load.asker import Asker, Episode, Listener
from rlway_client.load.grpc_asker import connect_grpc
from rlway_client.load.load_test import LoadTest
from rlway_client.load.measured import Measured
from rlway_client.remote.http import Address

METHOD = "/test.Service/Ask"


class Constant:
    """Answers every call; `refuse_every` calls one is refused."""

    def __init__(self, refuse_every: int, code: grpc.StatusCode) -> None:
        self._refuse_every = refuse_every
        self._code = code
        self.calls = 0
        self.peers: set[str] = set()
        self.metadata: set[str] = set()

    def service(self, details: Any) -> Any:
        assert details.method == METHOD
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.peers.add(context.peer())
        self.metadata |= {value for name, value in context.invocation_metadata() if name == "authorization"}
        if self._refuse_every and self.calls % self._refuse_every == 0:
            await context.abort(self._code, "not now,\nplease")
        return request


@asynccontextmanager
async def serving(refuse_every: int = 0, code: grpc.StatusCode = grpc.StatusCode.OK) -> AsyncIterator[Any]:
    constant = Constant(refuse_every, code)
    server = grpc.aio.server()
    handler = type("Handler", (grpc.GenericRpcHandler,), {"service": lambda _, details: constant.service(details)})
    server.add_generic_rpc_handlers((handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield constant, port
    finally:
        await server.stop(None)


class Echo:
    """A dialect of bytes."""

    names_episodes = False
    count = 2

    def __init__(self, port: int) -> None:
        self._port = port

    def request(self, place: int, episode: Episode | None) -> bytes:  # noqa: ARG002
        return bytes(place + 1)

    async def connect(self, listener: Listener) -> Asker:
        return await connect_grpc(Address.parse("http://127.0.0.1:1"), self._port, METHOD, "key", listener)

    def read(self, answer: bytes) -> Arrays:
        assert answer
        return {}


async def load(port: int, **options: Any) -> Measured:
    return await LoadTest("oip-grpc", Echo(port), [], f"127.0.0.1:{port}", 60.0, 0).run(3, 0.2, **options)


def test_each_channel_has_a_connection_of_its_own() -> None:
    """As separate robots have; the key goes with every call."""

    async def run() -> None:
        async with serving() as (constant, port):
            measured = await load(port)
            assert measured.load.errors == 0
            assert measured.load.achieved_rps > 0
            assert len(constant.peers) == 3
            assert constant.metadata == {"Bearer key"}

    event_loop.run(run())


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_any_status_but_ok_is_an_error(code: grpc.StatusCode) -> None:
    """Counted by its name, and the details of the first are quoted; the load goes on."""

    async def run() -> None:
        async with serving(5, code) as (_, port):
            measured = await load(port, rate=200.0)
            assert measured.load.errors_by_kind == {f"gRPC {code.name}": measured.load.errors}
            assert measured.load.errors > 0
            assert measured.load.first_error == f"gRPC {code.name}: not now,"
            assert measured.load.achieved_rps > 0

    event_loop.run(run())


def test_a_port_without_a_server_is_named() -> None:
    """At once, not after gRPC's own attempts."""
    with pytest.raises(ServerUnreachable, match=r"^127\.0\.0\.1:1: no gRPC server answers there"):
        event_loop.run(load(1))
