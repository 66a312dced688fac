"""A gRPC server that returns a constant: the bound for a gRPC server in Python, with grpc.aio on uvloop.

In:      a port, and the hexadecimal digits of the answers to a unary call and to a message of a stream.
Out:     these answers, to every request of the Open Inference Protocol's ModelInfer and ModelStreamInfer.

    python bare_grpc.py PORT UNARY STREAMED
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop


async def main(port: int, unary: bytes, streamed: bytes) -> None:
    async def infer(_: bytes, __: Any) -> bytes:
        return unary

    async def stream(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for _request in requests:
            yield streamed

    server = grpc.aio.server()
    methods = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(infer),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.get_running_loop().create_future()


uvloop.run(main(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])))
