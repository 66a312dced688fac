"""Asks a gRPC server over several streams, each of which waits for its answer before it asks again.

In:      a port, a number of streams, seconds, and the hexadecimal digits of the request.
Out:     one JSON object: answers per second, their latency, the share of this process's core.

    python grpc_streams.py PORT STREAMS SECONDS REQUEST
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import quantiles

import grpc
import uvloop

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
WARM_UP_S = 0.5


async def main(port: int, streams: int, seconds: float, request: bytes) -> None:
    latencies_ms: list[float] = []
    from_s = time.perf_counter() + WARM_UP_S
    until_s = from_s + seconds

    async def ask() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream(METHOD)()
            while (sent_s := time.perf_counter()) < until_s:
                await call.write(request)
                answer = await call.read()
                assert isinstance(answer, bytes), "the stream ended"
                if sent_s >= from_s:
                    latencies_ms.append((time.perf_counter() - sent_s) * 1e3)
            await call.done_writing()

    await asyncio.gather(*(ask() for _ in range(streams)))
    percentiles = quantiles(latencies_ms, n=100)
    cpu = time.process_time() / (WARM_UP_S + seconds)
    print(json.dumps([len(latencies_ms) / seconds, percentiles[49], percentiles[98], cpu]))


uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), bytes.fromhex(sys.argv[4])))
