"""One server's throughput by each protocol and body, beside nginx in the same rounds.

In:      a 4→100→2 Q-network; wrk, nginx, a C compiler for the WebSockets (Debian's wrk, nginx, gcc).
Out:     a table of medians: JSON on few and on many connections, raw batches, WebSockets in lock step; and ratios per
         round, with their bounds.

Each WebSocket sends one observation as a masked binary frame, waits for its action, and sends the next. load.c compares
many connections with few, because it opens them before it measures; wrk's time includes the opening. The server has one
core, and the load another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.rig import (
    OBSERVATION,
    OCTETS,
    PLAIN,
    Load,
    Offer,
    compile_load,
    find_compiler,
    median_ratio,
    medians,
    nginx_command,
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
from tests.bundles import q_network_policy
from tests.ports import free_port
from tests.servers import act_request

NAME = "cartpole"
ACTION_BYTES = 8  # int64
MASK = b"\x1b\x2e\x93\x67"
HANDSHAKE = (
    f"GET /v1/policies/{NAME}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
BOUNDS = {
    "actions/s of raw batches": 2_000_000,
    "JSON against nginx": 0.65,
    "WebSocket against nginx": 0.65,
    "JSON: many connections against few": 0.9,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, default=128, help="the few connections, and those of WebSockets")
    parser.add_argument("--many", type=int, default=1000, help="the many connections")
    parser.add_argument("--rows", type=int, default=256, help="of a raw batch")
    parser.add_argument("--batch-connections", type=int, default=16, help="that ask for raw batches")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require("wrk")
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        q_network_policy(folder / "models", NAME)
        loads = start_loads(stack, folder, options)
        results = take_turns(loads, options.rounds)
    report(results, options.rows, options.json)


def start_loads(stack: ExitStack, folder: Path, options: argparse.Namespace) -> dict[str, Callable[[], Load | Offer]]:
    """Starts the servers, and returns what to measure; says what is left out because a program is missing."""
    few, many, seconds = options.connections, options.many, options.seconds
    port, nginx_port = free_port(), free_port()
    stack.enter_context(running(rlway_command(folder / "models", port), log=folder / "log"))
    wait_until_answering(port)
    plain = write_request(folder)
    rows = np.resize(np.array(OBSERVATION, "<f4"), (options.rows, 4)).tobytes()
    batch = write_request(folder, rows, OCTETS)
    loads: dict[str, Callable[[], Load | Offer]] = {
        "JSON": partial(run_wrk, port, few, seconds, plain),
        "raw batches": partial(run_wrk, port, options.batch_connections, seconds, batch),
    }
    ports = {"JSON": port}
    if nginx := nginx_command(folder, nginx_port, many + 100):
        stack.enter_context(running(nginx))
        wait_until_answering(nginx_port)
        ports["nginx"] = nginx_port
        loads["nginx"] = partial(run_wrk, nginx_port, few, seconds, plain)
    else:
        print("nginx is not installed, and left out.", file=sys.stderr)
    if not find_compiler():
        print("WebSockets and many connections are left out: there is no C compiler for load.c.", file=sys.stderr)
        return loads
    program = compile_load(folder)
    (folder / "handshake").write_bytes(HANDSHAKE)
    (folder / "frame").write_bytes(masked_frame(struct.pack("<4f", *OBSERVATION)))
    (folder / "request").write_bytes(act_request(PLAIN, path="/act"))
    ask = partial(run_load, program, port, folder / "frame", few, seconds)
    loads["WebSocket"] = partial(ask, handshake=folder / "handshake", answer_bytes=ACTION_BYTES)
    for name, asked in ports.items():
        loads[f"{name}, few opened before"] = partial(run_load, program, asked, folder / "request", few, seconds)
        loads[f"{name}, many opened before"] = partial(run_load, program, asked, folder / "request", many, seconds)
    return loads


def masked_frame(payload: bytes) -> bytes:
    """A binary message of at most 125 bytes in one frame, masked as a client must mask it."""
    masked = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))
    return bytes([0x82, 0x80 | len(payload)]) + MASK + masked


def report(results: dict[str, list[Load | Offer]], rows: int, as_json: bool) -> None:
    rps = {name: [load.rps for load in loads] for name, loads in results.items()}
    figures = {"actions/s of raw batches": statistics.median(rps["raw batches"]) * rows}
    if "nginx" in rps:
        figures |= {f"{n} against nginx": median_ratio(rps[n], rps["nginx"]) for n in ("JSON", "WebSocket") if n in rps}
    for name in ("JSON", "nginx"):
        if f"{name}, many opened before" in rps:
            ratio = median_ratio(rps[f"{name}, many opened before"], rps[f"{name}, few opened before"])
            figures[f"{name}: many connections against few"] = ratio
    table = {name: medians(loads) for name, loads in results.items()}
    if as_json:
        print(json.dumps({"wires": table, "figures": figures, "bounds": BOUNDS}))
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
            (name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", *judged(value, BOUNDS.get(name)))
            for name, value in figures.items()
        ],
    )


def judged(value: float, bound: float | None) -> tuple[str, str]:
    return ("–", "") if bound is None else (f"{bound:,}", "met" if value >= bound else "missed")


if __name__ == "__main__":
    main()
