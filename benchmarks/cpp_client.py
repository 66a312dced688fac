"""The C++ client's round trip beside wrk's and the Python client's, one connection each, in the same rounds.

In:      a 4→100→2 Q-network; wrk and g++ (Debian's packages of those names).
Out:     a table of medians: requests/s, p50 and p99; the ratios of the p50 per round, with their bounds.

The server has one core, and the load another. wrk is what HTTP costs at the least: it neither writes the observation
nor reads the action.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.rig import (
    HERE,
    LOAD_CORE,
    OBSERVATION,
    median_ratio,
    pinned,
    print_table,
    require,
    rlway_command,
    run_wrk,
    running,
    take_turns,
    wait_until_answering,
    write_request,
)
from rlway_client import PolicyClient
from tests.bundles import q_network_policy
from tests.ports import free_port

NAME = "cartpole"
WAYS = {  # and the microseconds of `spin`, if not the client's own
    "C++, json": ("json",),
    "C++, raw": ("raw",),
    "C++, stream": ("stream",),
    "C++, json, no spin": ("json", "0"),
}
AGAINST_WRK, AGAINST_PYTHON = "C++, json against wrk, p50", "Python against C++, json, p50"
MOST, LEAST = {AGAINST_WRK: 1.2}, {AGAINST_PYTHON: 2.0}


class RoundTrips(NamedTuple):
    """What one client saw."""

    rps: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each client is measured, in turn")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require("wrk", "g++")
    if pinned(LOAD_CORE):
        os.sched_setaffinity(0, {int(LOAD_CORE)})  # of the Python client
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        q_network_policy(folder / "models", NAME)
        program = compile_client(folder)
        port = free_port()
        stack.enter_context(running(rlway_command(folder / "models", port), log=folder / "log"))
        wait_until_answering(port)
        url = f"http://127.0.0.1:{port}"
        clients: dict[str, Callable[[], RoundTrips]] = {
            "wrk": partial(ask_with_wrk, port, options.seconds, write_request(folder)),
            **{name: partial(ask_with_cpp, program, url, options.seconds, *way) for name, way in WAYS.items()},
            "Python": partial(ask_with_python, url, options.seconds),
        }
        results = take_turns(clients, options.rounds)
    report(results, options.json)


def compile_client(folder: Path) -> Path:
    program = folder / "cpp_client"
    include = HERE.parent / "clients/cpp/include"
    words = [
        "g++",
        "-std=c++17",
        "-O2",
        "-I",
        str(include),
        str(HERE / "cpp_client.cpp"),
        "-o",
        str(program),
        "-pthread",
    ]
    subprocess.run(words, check=True)
    return program


def ask_with_wrk(port: int, seconds: int, script: Path) -> RoundTrips:
    load = run_wrk(port, 1, seconds, script, f"/v1/policies/{NAME}/act")
    return RoundTrips(load.rps, load.p50_ms, load.p99_ms)


def ask_with_cpp(program: Path, url: str, seconds: int, way: str, *spin_us: str) -> RoundTrips:
    words = [*pinned(LOAD_CORE), str(program), way, url, NAME, str(seconds), *spin_us]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{sys.argv[0]}: the C++ client failed by {way}.")
    return RoundTrips(**json.loads(done.stdout))


def ask_with_python(url: str, seconds: int) -> RoundTrips:
    observation, took_s = np.array(OBSERVATION, np.float32), []
    with PolicyClient(url, NAME) as client:
        client.act(observation)
        end_s = time.perf_counter() + seconds
        while (now_s := time.perf_counter()) < end_s:
            client.act(observation)
            took_s.append(time.perf_counter() - now_s)
    p50_ms, p99_ms = np.percentile(took_s, [50, 99]) * 1e3
    return RoundTrips(len(took_s) / seconds, float(p50_ms), float(p99_ms))


def report(results: Mapping[str, list[RoundTrips]], as_json: bool) -> None:
    p50 = {name: [trips.p50_ms for trips in rounds] for name, rounds in results.items()}
    figures = {f"{name} against wrk, p50": median_ratio(p50[name], p50["wrk"]) for name in WAYS}
    figures |= {f"Python against {name}, p50": median_ratio(p50["Python"], p50[name]) for name in WAYS}
    table = {
        name: [float(np.median(column)) for column in zip(*rounds, strict=True)] for name, rounds in results.items()
    }
    if as_json:
        print(json.dumps({"clients": table, "figures": figures, "at_most": MOST, "at_least": LEAST}))
        return
    print_table(
        ("client", "requests/s", "p50 ms", "p99 ms"),
        [(name, f"{rps:,.0f}", f"{p50_ms:.3f}", f"{p99_ms:.3f}") for name, (rps, p50_ms, p99_ms) in table.items()],
    )
    print_table(
        ("figure", "measured", "bound"), [(name, f"{value:.2f}", bound(name)) for name, value in figures.items()]
    )


def bound(name: str) -> str:
    if name in MOST:
        return f"at most {MOST[name]:g}"
    return f"at least {LEAST[name]:g}" if name in LEAST else ""


if __name__ == "__main__":
    main()
