"""The policy server beside its peers, in one run on one machine: requests per second, and what a server costs.

In:      a 4→100→2 Q-network; wrk and nginx, where they are installed (Debian's packages of those names).
Out:     a table of medians, and ratios taken round by round, since shared machines drift.

Peers: nginx returning a constant, which bounds what any HTTP server can do, and the same ONNX file behind a plain
FastAPI route. The server has one core and wrk another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil

from benchmarks.rig import (
    HERE,
    Load,
    median_ratio,
    medians,
    nginx_command,
    print_table,
    require,
    rlway_command,
    run_wrk,
    running,
    take_turns,
    wait_until_answering,
    write_request,
)
from rlway_client.bundle import Bundle
from tests.bundles import q_network_policy
from tests.ports import free_port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require("wrk")
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder, ExitStack() as stack:
        bundle = q_network_policy(Path(folder) / "models", "cartpole")
        costs = measure_costs(bundle)
        ports = {"rlway": free_port(), "fastapi": free_port(), "nginx": free_port()}
        stack.enter_context(running(rlway_command(bundle.path.parents[1], ports["rlway"])))
        stack.enter_context(running(fastapi_command(ports["fastapi"]), {"RLWAY_ONNX": str(bundle.path / "model.onnx")}))
        nginx = nginx_command(Path(folder), ports["nginx"])
        if nginx:
            stack.enter_context(running(nginx))
        else:
            del ports["nginx"]
        script = write_request(Path(folder))
        for port in ports.values():
            wait_until_answering(port)
        results = {
            c: take_turns(
                {n: partial(run_wrk, p, c, options.seconds, script) for n, p in ports.items()}, options.rounds
            )
            for c in options.connections
        }
    report(results, costs, options.json)


def measure_costs(bundle: Bundle, starts: int = 3) -> dict[str, float]:
    """Median seconds from start to the first action, and resident MB after it."""
    ready_s, resident_mb = [], []
    for _ in range(starts):
        port = free_port()
        started_s = time.perf_counter()
        with running(rlway_command(bundle.path.parents[1], port)) as process:
            wait_until_answering(port)
            ready_s.append(time.perf_counter() - started_s)
            resident_mb.append(psutil.Process(process.pid).memory_info().rss / 1e6)
    return {"ready_s": statistics.median(ready_s), "resident_mb": statistics.median(resident_mb)}


def report(results: dict[int, dict[str, list[Load]]], costs: dict[str, float], as_json: bool) -> None:
    rows = []
    for connections, loads in results.items():
        for name, values in loads.items():
            ratio = median_ratio([ours.rps for ours in loads["rlway"]], [theirs.rps for theirs in values])
            rows.append({"server": name, "connections": connections, **medians(values), "rlway_ratio": ratio})
    if as_json:
        print(json.dumps({"serving": rows, **costs}))
        return
    print_table(
        ("server", "connections", "requests/s", "p50 ms", "p99 ms", "RLway against it"),
        [
            (
                r["server"],
                r["connections"],
                f"{r['rps']:,.0f}",
                f"{r['p50_ms']:.2f}",
                f"{r['p99_ms']:.2f}",
                "" if r["server"] == "rlway" else f"{r['rlway_ratio']:.2f}×",
            )
            for r in rows
        ],
    )
    print(f"\nready after start: {costs['ready_s']:.2f} s; resident memory, one policy: {costs['resident_mb']:.0f} MB")


def fastapi_command(port: int) -> list[str]:
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "plain_fastapi:app"]
    return [*uvicorn, "--port", str(port), "--no-access-log", "--log-level", "warning"]


if __name__ == "__main__":
    main()
