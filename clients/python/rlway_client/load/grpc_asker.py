"""A channel for unary calls over gRPC, for the load test; each has a connection of its own.

In:      serialized requests, which one method takes.
Out:     serialized answers; any status but OK is a fault, which quotes its details.
Refuses: a server that takes no connection (ServerUnreachable).
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from rlway_client.common.quote import reason
from rlway_client.contract.errors import ServerUnreachable
from rlway_client.load.asker import QUOTED, Fault, Listener
from rlway_client.remote.http import Address

OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # otherwise all channels to one address share a connection
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class GrpcAsker:
    """Asks one method. The task of a call is kept until its answer has come."""

    def __init__(self, channel: Any, method: str, key: str | None, listener: Listener) -> None:
        self.listener = listener
        self.open = True
        self.answer = b""
        self._channel = channel
        self._method = channel.unary_unary(method)
        self._metadata = (("authorization", f"Bearer {key}"),) if key else None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def ask(self, request: bytes) -> None:
        self._task = self._loop.create_task(self._ask(request))

    def close(self) -> None:
        self.open = False
        if self._task is not None:
            self._task.cancel()
        self._task = self._loop.create_task(self._channel.close())

    async def _ask(self, request: bytes) -> None:
        try:
            self.answer = await self._method(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            # The connection may be gone. gRPC would open it again by itself, and fail at once until it has.
            self.open = error.code() is not grpc.StatusCode.UNAVAILABLE
            self.listener.answered(Fault(f"gRPC {error.code().name}", reason(error.details() or "", QUOTED)))
        else:
            self.listener.answered(None)


async def connect_grpc(address: Address, port: int, method: str, key: str | None, listener: Listener) -> GrpcAsker:
    """A new channel, once it is connected."""
    where = f"[{address.host}]:{port}" if ":" in address.host else f"{address.host}:{port}"
    if address.tls:
        channel = grpc.aio.secure_channel(where, grpc.ssl_channel_credentials(_roots()), OPTIONS)
    else:
        channel = grpc.aio.insecure_channel(where, OPTIONS)
    try:
        await _connected(channel, tls=address.tls is not None)
    except BaseException:
        await channel.close()
        raise
    return GrpcAsker(channel, method, key, listener)


async def _connected(channel: Any, tls: bool) -> None:
    """Raises ServerUnreachable at the first attempt that fails; gRPC itself would go on trying."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            how = " over TLS" if tls else ""  # gRPC does not tell the reason
            raise ServerUnreachable(f"no gRPC server answers there{how}; `rlway serve --grpc-port` opens one.")
        await channel.wait_for_state_change(state)
        state = channel.get_state()


def _roots() -> bytes | None:
    """The certificates that Python trusts, so that one variable, SSL_CERT_FILE, is for all protocols."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None
