"""The policy server beside its peers, in one run on one machine: requests per second, time to start, and memory.

In:      the network of the default DQN, 4→128→128→2, and those of sizes.py; wrk and nginx (Debian packages).
Out:     tables of medians, and of ratios per round, because a shared machine's speed drifts.

The peers are nginx that returns a constant, an upper bound for any HTTP server, and the same ONNX file behind a plain
FastAPI route. `--before` adds the server of an earlier checkout, so that a change is measured against it in one run.
The server has one core, and wrk another. Networks of several sizes are measured with one core for the server, and then
with two, of which wrk shares the second.
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
    LOAD_CORE,
    SERVER_CORE,
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
from benchmarks.sizes import Sizes, make_policies, summarize
from rlway_client.contract.bundle import Bundle
from tests.bundles import q_network_policy
from tests.ports import free_port

DEFAULT = (128, 128)  # of `rlway train dqn`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes-only", action="store_true", help="leave out the peers")
    parser.add_argument("--before", type=Path, help="the command `rlway` of an earlier checkout, as one more peer")
    options = parser.parse_args()
    require("wrk")
    if not options.sizes_only:
        measure_peers(options)
    for cores in (SERVER_CORE, f"{SERVER_CORE},{LOAD_CORE}"):
        measure_sizes(options, cores)


def measure_sizes(options: argparse.Namespace, cores: str) -> None:
    """Measures networks of several sizes on a server with these cores."""
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder, ExitStack() as stack:
        models = Path(folder) / "models"
        policies = make_policies(models)
        port = free_port()
        stack.enter_context(running(rlway_command(models, port), cores=cores))
        wait_until_answering(port, "/v1/policies/100/act")
        sizes = Sizes(port, Path(folder), policies, options.seconds)
        rows = []
        for connections in options.connections:
            rounds = [sizes.measure(connections) for _ in range(options.rounds)]
            columns = [
                summarize(rounds, value)
                for value in (lambda size: size.load.rps, lambda size: size.load.p50_ms, lambda size: size.ratio)
            ]
            health = summarize(rounds, lambda size: size.health_p99_ms)["cnn"]
            for name in rounds[0]:
                rps, p50_ms, ratio = (column[name] for column in columns)
                rows.append((name, connections, rps, p50_ms, ratio, health if name == "cnn" else None))
    if options.json:
        keys = ("network", "connections", "rps", "p50_ms", "ratio", "health_p99_ms")
        print(json.dumps({"cores": cores, "sizes": [dict(zip(keys, row, strict=True)) for row in rows]}))
        return
    print_table(
        (
            f"network, server on cores {cores}",
            "connections",
            "requests/s",
            "p50 ms",
            "against its bound",
            "/healthz p99 ms",
        ),
        [
            (name, c, f"{rps:,.0f}", f"{p50_ms:.2f}", f"{ratio:.2f}×", "" if health is None else f"{health:.1f}")
            for name, c, rps, p50_ms, ratio, health in rows
        ],
    )


def measure_peers(options: argparse.Namespace) -> None:
    """Measures the default network beside the peers."""
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder, ExitStack() as stack:
        bundle = q_network_policy(Path(folder) / "models", "cartpole", DEFAULT)
        costs = measure_costs(bundle)
        ports = {"rlway": free_port(), "fastapi": free_port(), "nginx": free_port()}
        if options.before is not None:
            ports["before"] = free_port()
            stack.enter_context(running(rlway_command(bundle.path.parents[1], ports["before"], rlway=options.before)))
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
