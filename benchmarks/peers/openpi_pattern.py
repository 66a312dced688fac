"""The way in which openpi serves a policy: one WebSocket handler for each robot, which runs the model itself.

In:      a model.onnx over `observation` with the output `action`, and a port.
Out:     openpi's wire: metadata first, then an answer to each MessagePack map of arrays.

    python openpi_pattern.py MODEL PORT
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import msgpack
import numpy as np
import onnxruntime
from websockets.asyncio.server import ServerConnection, serve


def pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return value


def unpack(value: Any) -> Any:
    if b"__ndarray__" in value:
        return np.ndarray(buffer=value[b"data"], dtype=np.dtype(value[b"dtype"]), shape=value[b"shape"])
    return value


async def main(model: str, port: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    async def handle(robot: ServerConnection) -> None:
        await robot.send(msgpack.packb({"policy": "peer"}))
        async for message in robot:
            request = msgpack.unpackb(message, object_hook=unpack, strict_map_key=False)
            observation = np.asarray(request["observation"], np.float32)[np.newaxis]
            action = session.run(["action"], {"observation": observation})[0]
            await robot.send(msgpack.packb({"actions": np.asarray(action)}, default=pack))

    async with serve(handle, "127.0.0.1", port, compression=None, max_size=None):
        await asyncio.get_running_loop().create_future()


logging.getLogger("websockets").setLevel(logging.CRITICAL)  # a load that ends does not close its connections
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
