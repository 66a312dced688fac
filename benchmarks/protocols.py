"""One server's throughput by each protocol that others speak, beside the native one and a bare gRPC server.

In:      a 4→100→2 Q-network; wrk, a C compiler and h2load (Debian's wrk, gcc, nghttp2-client).
Out:     a table of medians: JSON, binary batches, WebSockets in lock step, gRPC calls and streams; and ratios per
         round, with their bounds.

The server has one core, and the load another. The gRPC streams are asked by grpc.aio, which takes about as much of its
core as the server does: their ratio is that of both together.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
import msgpack
import numpy as np
from websockets.sync.client import ClientConnection, connect

from benchmarks.rig import (
    HERE,
    LOAD_CORE,
    OBSERVATION,
    OCTETS,
    Load,
    Offer,
    compile_load,
    median_ratio,
    medians,
    pinned,
    print_table,
    require,
    rlway_command,
    run_load,
    run_wrk,
    running,
    take_turns,
    wait_until_answering,
    write_request,
)
from benchmarks.wires import ACTION_BYTES, judged, masked_frame
from rlway_client.protos import inference_pb2 as inference
from tests.bundles import q_network_policy
from tests.ports import free_port

NAME = "cartpole"
ROWS, BATCH_CONNECTIONS = 256, 16
OIP_PATH, TFS_PATH = f"/v2/models/{NAME}/infer", f"/v1/models/{NAME}:predict"
INFER = "inference.GRPCInferenceService/ModelInfer"
HANDSHAKE = (
    "GET /v1/policies/{name}/{stream} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BOUNDS = {
    "OIP JSON against native JSON": 0.5,
    "TFS JSON against native JSON": 0.5,
    f"OIP binary, actions/s in batches of {ROWS}": 1_500_000,
    "openpi against the native stream": 0.5,
    "gRPC calls against a bare server": 0.8,
    "gRPC streams against a bare server": 0.8,
}
Loads = dict[str, Callable[[], Load | Offer]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32, help="of JSON and gRPC")
    parser.add_argument("--robots", type=int, default=128, help="on WebSockets")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require("wrk", "h2load")
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        q_network_policy(folder / "models", NAME)
        port, grpc_port = free_port(), free_port()
        command = rlway_command(folder / "models", port, "--grpc-port", str(grpc_port))
        stack.enter_context(running(command, log=folder / "log"))
        wait_until_answering(port)
        loads = http_loads(folder, port, options)
        loads |= websocket_loads(folder, port, options)
        loads |= grpc_loads(stack, folder, grpc_port, options)
        results = take_turns(loads, options.rounds)
    report(results, options.json)


def http_loads(folder: Path, port: int, options: argparse.Namespace) -> Loads:
    tensor = {"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": OBSERVATION}
    infer = write_request(folder, json.dumps({"inputs": [tensor]}).encode())
    predict = write_request(folder, json.dumps({"instances": [OBSERVATION]}).encode())
    rows = np.resize(np.array(OBSERVATION, "<f4"), (ROWS, 4)).tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "observation",
                    "shape": [ROWS, 4],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(rows)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    batch = write_request(folder, head + rows, OCTETS, Inference_Header_Content_Length=str(len(head)))
    raw = write_request(folder, rows, OCTETS)
    few, seconds = options.connections, options.seconds
    return {
        "native JSON": partial(run_wrk, port, few, seconds, write_request(folder)),
        "OIP JSON": partial(run_wrk, port, few, seconds, infer, OIP_PATH),
        "TFS JSON": partial(run_wrk, port, few, seconds, predict, TFS_PATH),
        "native raw batches": partial(run_wrk, port, BATCH_CONNECTIONS, seconds, raw),
        "OIP binary batches": partial(run_wrk, port, BATCH_CONNECTIONS, seconds, batch, OIP_PATH),
    }


def websocket_loads(folder: Path, port: int, options: argparse.Namespace) -> Loads:
    program = compile_load(folder)
    octets, message = struct.pack("<4f", *OBSERVATION), openpi_message()
    answer_bytes = openpi_answer_bytes(f"ws://127.0.0.1:{port}/v1/policies/{NAME}/openpi", message)
    loads: Loads = {}
    for name, stream, payload, expected, greetings in (
        ("native stream", "stream", octets, ACTION_BYTES, 0),
        ("openpi", "openpi", message, answer_bytes, 1),
    ):
        handshake, frame = folder / f"{stream}.handshake", folder / f"{stream}.frame"
        handshake.write_bytes(HANDSHAKE.format(name=NAME, stream=stream).encode())
        frame.write_bytes(masked_frame(payload))
        ask = partial(run_load, program, port, frame, options.robots, options.seconds)
        loads[name] = partial(ask, handshake=handshake, answer_bytes=expected, greetings=greetings)
    return loads


def openpi_message() -> bytes:
    """One observation as openpi's client packs it."""
    octets = struct.pack("<4f", *OBSERVATION)
    array = {b"__ndarray__": True, b"data": octets, b"dtype": "<f4", b"shape": [4]}
    message: bytes = msgpack.packb({"observation": array})
    return message


def openpi_answer_bytes(url: str, message: bytes) -> int:
    """The size of the answer. Waits until the server takes connections."""
    with connect_patiently(url) as robot:
        robot.recv()
        robot.send(message)
        answer = robot.recv()
    assert isinstance(answer, bytes), answer
    return len(answer)


def connect_patiently(url: str, timeout_s: float = 30.0) -> ClientConnection:
    """A connection, once the server takes one."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return connect(url, compression=None)
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def grpc_loads(stack: ExitStack, folder: Path, port: int, options: argparse.Namespace) -> Loads:
    request = inference.ModelInferRequest(model_name=NAME)
    request.inputs.add(name="observation", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(struct.pack("<4f", *OBSERVATION))
    octets = request.SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        unary = channel.unary_unary(f"/{INFER}")(octets)
        streamed = next(channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([octets])))
    peer_port = free_port()
    peer = [sys.executable, str(HERE / "peers/bare_grpc.py"), str(peer_port), unary.hex(), streamed.hex()]
    stack.enter_context(running(peer))
    with grpc.insecure_channel(f"127.0.0.1:{peer_port}") as channel:
        grpc.channel_ready_future(channel).result(30)
    framed = folder / "grpc.request"
    framed.write_bytes(b"\0" + len(octets).to_bytes(4, "big") + octets)
    loads: Loads = {}
    for name, asked in (("gRPC", port), ("bare gRPC", peer_port)):
        loads[f"{name} calls"] = partial(run_h2load, asked, options.connections, options.seconds, framed)
        loads[f"{name} streams"] = partial(run_streams, asked, options.connections, options.seconds, octets)
    return loads


def run_h2load(port: int, connections: int, seconds: int, request: Path) -> Load:
    """A closed loop of unary calls, one on each connection; a failed request ends the benchmark."""
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    numbers = [f"-c{connections}", "-m1", f"-D{seconds}", "--warm-up-time=1", "-d", str(request)]
    command = [*pinned(LOAD_CORE), "h2load", *numbers, *headers, f"http://127.0.0.1:{port}/{INFER}"]
    text = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
    rate = re.search(r"([\d.]+) req/s", text)
    if failed is None or rate is None or any(map(int, failed.groups())):
        sys.exit(f"{sys.argv[0]}: the server on port {port} failed calls:\n{text}")
    return Load(float(rate.group(1)), float("nan"), float("nan"), float("nan"))


def run_streams(port: int, streams: int, seconds: int, request: bytes) -> Load:
    """A closed loop on each stream."""
    command = [sys.executable, str(HERE / "grpc_streams.py"), str(port), str(streams), str(seconds), request.hex()]
    return Load(*json.loads(subprocess.check_output([*pinned(LOAD_CORE), *command])))


def report(results: dict[str, list[Load | Offer]], as_json: bool) -> None:
    rps = {name: [load.rps for load in loads] for name, loads in results.items()}
    figures = {
        "OIP JSON against native JSON": median_ratio(rps["OIP JSON"], rps["native JSON"]),
        "TFS JSON against native JSON": median_ratio(rps["TFS JSON"], rps["native JSON"]),
        f"OIP binary, actions/s in batches of {ROWS}": statistics.median(rps["OIP binary batches"]) * ROWS,
        "openpi against the native stream": median_ratio(rps["openpi"], rps["native stream"]),
        "gRPC calls against a bare server": median_ratio(rps["gRPC calls"], rps["bare gRPC calls"]),
        "gRPC streams against a bare server": median_ratio(rps["gRPC streams"], rps["bare gRPC streams"]),
    }
    table = {name: medians(loads) for name, loads in results.items()}
    if as_json:
        print(json.dumps({"protocols": table, "figures": figures, "bounds": BOUNDS}))
        return
    print_table(
        ("asked by", "requests/s", "p50 ms", "p99 ms", "asker's core"),
        [
            (name, f"{r['rps']:,.0f}", f"{r['p50_ms']:.2f}", f"{r['p99_ms']:.2f}", f"{r['cpu']:.0%}")
            for name, r in table.items()
        ],
    )
    print_table(
        ("figure", "measured", "at least", ""),
        [
            (name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", *judged(value, BOUNDS[name]))
            for name, value in figures.items()
        ],
    )


if __name__ == "__main__":
    main()
