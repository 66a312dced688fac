"""One caller's latency while others overload the server, and the cost of a killed worker.

In:      a 4→100→2 Q-network; wrk for the workers (Debian's package of that name).
Out:     a modest caller's latency and the server's memory beside greedy callers; lost requests, and seconds until a
         killed worker is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.bundles import q_network_policy
from tests.servers import OCTETS, PATIENCE_S, Server, act_request, get_request, running_server

ACT = "/v1/policies/cartpole/act"
ONE = act_request({"observation": [0.01, -0.02, 0.03, 0.04]}, path=ACT)
ROWS = [[0.0123, -0.0234, 0.0345, 0.0456]] * 4096
CROWDS: dict[str, tuple[int, bytes, bool]] = {  # connections, what each sends again and again, whether it reads
    "nobody": (0, b"", False),
    "4 that pipeline": (4, ONE * 500, True),
    "20 that pipeline and never read": (20, ONE * 500, False),
    "20 that pipeline GETs and never read": (20, get_request("/v1/policies") * 500, False),
    "1 with 4,096 rows of JSON": (1, act_request({"observations": ROWS}, path=ACT), True),
    "1 with 4,096 raw rows": (1, act_request(np.array(ROWS, "<f4").tobytes(), path=ACT, media_type=OCTETS), True),
    "1 with 1 MiB of bad JSON": (1, act_request(b"[" + b"1," * 500_000 + b"x]", path=ACT), True),
    "1 with 4 MiB of bad JSON": (1, act_request(b" " * 4 * 1024 * 1024, path=ACT), True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="of the modest caller, beside each crowd")
    parser.add_argument("--seconds", type=int, default=8, help="of load on two workers, one of which is killed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder:
        models = Path(folder) / "models"
        q_network_policy(models, "cartpole")
        with running_server(models, Path(folder) / "log") as server:
            crowds = [measure_beside(server, name, options.requests) for name in CROWDS]
        killed = measure_kill(models, Path(folder) / "workers-log", options.seconds) if shutil.which("wrk") else None
    report(crowds, killed, options.json)


def measure_beside(server: Server, name: str, requests: int) -> dict[str, Any]:
    """The latency of a caller that pauses for 2 ms between its requests."""
    connections, data, reads = CROWDS[name]
    latencies_ms = []
    with crowd(server, connections, data, reads), server.connect() as wire:
        for _ in range(requests):
            began_s = time.perf_counter()
            wire.send(ONE)
            if wire.answer().status != 200:
                sys.exit(f"benchmarks/overload.py: beside {name}, a modest caller was refused.")
            latencies_ms.append((time.perf_counter() - began_s) * 1000)
            time.sleep(0.002)
        resident_mb = psutil.Process(server.process.pid).memory_info().rss / 1e6
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    return {"beside": name, "p50_ms": p50, "p99_ms": p99, "max_ms": max(latencies_ms), "resident_mb": resident_mb}


@contextmanager
def crowd(server: Server, connections: int, data: bytes, reads: bool) -> Iterator[None]:
    """Callers that send as fast as the server reads."""
    over = threading.Event()
    callers = [threading.Thread(target=flood, args=(server, data, reads, over)) for _ in range(connections)]
    for caller in callers:
        caller.start()
    time.sleep(0.5 if connections else 0)
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join()


def flood(server: Server, data: bytes, reads: bool, over: threading.Event) -> None:
    with server.connect() as wire, suppress(ConnectionError):
        wire.socket.settimeout(0.2)
        rest = memoryview(data)
        while not over.is_set():
            with suppress(TimeoutError):
                rest = rest[wire.socket.send(rest) :] or memoryview(data)
                if reads and len(rest) == len(data):
                    wire.socket.recv(1 << 20)


def measure_kill(models: Path, log: Path, seconds: int) -> dict[str, Any]:
    """Runs wrk against two workers, and kills one of them after a quarter of the time."""
    with running_server(models, log, "--workers", "2") as server:
        script = models.with_name("act.lua")
        body = json.dumps({"observation": [0.01, -0.02, 0.03, 0.04]})
        script.write_text(f"wrk.method='POST' wrk.body='{body}' wrk.headers['Content-Type']='application/json'")
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(script), f"{server.url}{ACT}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
            time.sleep(seconds / 4)
            os.kill(psutil.Process(server.process.pid).children()[0].pid, signal.SIGKILL)
            killed_s = time.perf_counter()
            while "ready as process" not in log.read_text():
                if time.perf_counter() - killed_s > PATIENCE_S:
                    sys.exit("benchmarks/overload.py: the killed worker was never replaced.")
                time.sleep(0.002)
            back_s = time.perf_counter() - killed_s
            text = load.communicate()[0]
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    answered = re.search(r"(\d+) requests in", text)
    assert answered is not None, text
    return {
        "back_s": back_s,
        "answered": int(answered.group(1)),
        "lost": sum(map(int, errors.groups())) if errors else 0,
        "refused": int(refused.group(1)) if refused else 0,
    }


def report(crowds: list[dict[str, Any]], killed: dict[str, Any] | None, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"overload": crowds, "killed_worker": killed}))
        return
    print("| a modest caller beside | p50 ms | p99 ms | max ms | server MB |\n|---|---|---|---|---|")
    for row in crowds:
        latency = f"{row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['max_ms']:.1f}"
        print(f"| {row['beside']} | {latency} | {row['resident_mb']:.0f} |")
    if killed is not None:
        print(
            f"\none of 2 workers killed under load, 32 connections: back after {killed['back_s']:.2f} s; "
            f"{killed['answered']:,} requests answered, {killed['lost']} lost, {killed['refused']} refused"
        )


if __name__ == "__main__":
    main()
