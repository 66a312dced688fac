"""The policy server beside its peers, in one run on one machine: requests per second, and what a server costs.

In:      a 4→100→2 Q-network; wrk and nginx, where they are installed (Debian's packages of those names).
Out:     a table of medians, and ratios taken round by round, since shared machines drift.

Peers: nginx returning a constant, which bounds what any HTTP server can do, and the same ONNX file behind a plain
FastAPI route. The server has one core and wrk another.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from rlway_client import PolicyClient
from rlway_client.bundle import Bundle
from tests.bundles import q_network_policy

HERE = Path(__file__).parent
RLWAY = Path(sys.executable).parent / "rlway"
OBSERVATION = [0.01, -0.02, 0.03, 0.04]
NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder};
  server {{ listen 127.0.0.1:{port};
    location /act {{ default_type application/json; return 200 '{{"action":0}}'; }} }} }}
"""
SERVER_CORE, LOAD_CORE = "0", "1"


class Load(NamedTuple):
    """What wrk saw."""

    rps: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("benchmarks/serving.py: wrk is not installed; Debian's package is called wrk.")
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder, ExitStack() as stack:
        bundle = q_network_policy(Path(folder) / "models", "cartpole")
        costs = measure_costs(bundle)
        ports = {"rlway": free_port(), "fastapi": free_port(), "nginx": free_port()}
        stack.enter_context(running(rlway_command(bundle, ports["rlway"])))
        stack.enter_context(running(fastapi_command(ports["fastapi"]), {"RLWAY_ONNX": str(bundle.path / "model.onnx")}))
        if nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
            config = Path(folder) / "nginx.conf"
            config.write_text(NGINX.format(folder=folder, port=ports["nginx"]))
            stack.enter_context(running([nginx, "-c", str(config)]))
        else:
            del ports["nginx"]
        script = write_request(Path(folder))
        for port in ports.values():
            wait_until_answering(port)
        results = {c: measure(ports, c, options.rounds, options.seconds, script) for c in options.connections}
    report(results, costs, options.json)


def measure(ports: dict[str, int], connections: int, rounds: int, seconds: int, script: Path) -> dict[str, list[Load]]:
    """Every server in turn, `rounds` times; a round's loads stand at the same index."""
    loads: dict[str, list[Load]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            loads[name].append(run_wrk(port, connections, seconds, script))
    return loads


def run_wrk(port: int, connections: int, seconds: int, script: Path) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    text = subprocess.check_output([*pinned(LOAD_CORE), *command, f"http://127.0.0.1:{port}/act"], text=True)
    if re.search(r"Non-2xx|Socket errors", text):
        sys.exit(f"benchmarks/serving.py: the server on port {port} failed requests:\n{text}")
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    percentiles = {
        int(percent): float(value) * units[unit]
        for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)
    }
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return Load(float(rate.group(1)), percentiles[50], percentiles[99])


def measure_costs(bundle: Bundle, starts: int = 3) -> dict[str, float]:
    """Median seconds from start to the first action, and resident MB after it."""
    ready_s, resident_mb = [], []
    for _ in range(starts):
        port = free_port()
        started_s = time.perf_counter()
        with running(rlway_command(bundle, port)) as process:
            wait_until_answering(port)
            ready_s.append(time.perf_counter() - started_s)
            resident_mb.append(psutil.Process(process.pid).memory_info().rss / 1e6)
    return {"ready_s": statistics.median(ready_s), "resident_mb": statistics.median(resident_mb)}


def report(results: dict[int, dict[str, list[Load]]], costs: dict[str, float], as_json: bool) -> None:
    rows = []
    for connections, loads in results.items():
        for name, values in loads.items():
            ratios = [ours.rps / theirs.rps for ours, theirs in zip(loads["rlway"], values, strict=True)]
            row = {field: statistics.median(getattr(v, field) for v in values) for field in Load._fields}
            rows.append({"server": name, "connections": connections, **row, "rlway_ratio": statistics.median(ratios)})
    if as_json:
        print(json.dumps({"serving": rows, **costs}))
        return
    print("| server | connections | requests/s | p50 ms | p99 ms | RLway against it |\n|---|---|---|---|---|---|")
    for r in rows:
        ratio = "" if r["server"] == "rlway" else f"{r['rlway_ratio']:.2f}×"
        latency = f"{r['p50_ms']:.2f} | {r['p99_ms']:.2f}"
        print(f"| {r['server']} | {r['connections']} | {r['rps']:,.0f} | {latency} | {ratio} |")
    print(f"\nready after start: {costs['ready_s']:.2f} s; resident memory, one policy: {costs['resident_mb']:.0f} MB")


def rlway_command(bundle: Bundle, port: int) -> list[str]:
    return [str(RLWAY), "serve", str(bundle.path.parents[1]), "--port", str(port)]


def fastapi_command(port: int) -> list[str]:
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "plain_fastapi:app"]
    return [*uvicorn, "--port", str(port), "--no-access-log", "--log-level", "warning"]


@contextmanager
def running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server on its core, ended on leaving."""
    process = subprocess.Popen(
        [*pinned(SERVER_CORE), *command], env=os.environ | (environment or {}), stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def pinned(core: str) -> list[str]:
    """The prefix that binds a command to a core, where that is possible."""
    return ["taskset", "-c", core] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


def write_request(folder: Path) -> Path:
    script = folder / "act.lua"
    body = json.dumps({"observation": OBSERVATION})
    script.write_text(f"wrk.method='POST' wrk.body='{body}' wrk.headers['Content-Type']='application/json'")
    return script


def wait_until_answering(port: int, timeout_s: float = 30.0) -> None:
    """Returns once the server has answered one request for an action."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with PolicyClient(f"http://127.0.0.1:{port}") as client:
                client._exchange("POST", "/act", json.dumps({"observation": OBSERVATION}).encode())
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
