"""The cost of following the models folder: hot swaps under load, and a hundred policies compared with one.

In:      4→100→2 Q-networks; wrk (Debian's package of that name).
Out:     latency and failures while a new version is published every second, relative to the same server without swaps;
         requests per second, resident memory and time to ready with 100 policies, relative to one.

The server has one core, and wrk another; rounds alternate, and ratios are computed per round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from benchmarks.rig import (
    Load,
    median_ratio,
    require,
    rlway_command,
    run_wrk,
    running,
    wait_until_answering,
    write_request,
)
from tests.bundles import q_network_policy
from tests.ports import free_port

NAME = "cartpole"
CONNECTIONS = 32


class Server(NamedTuple):
    """A server that answers."""

    port: int
    process: psutil.Process
    ready_s: float

    @property
    def resident_mb(self) -> float:
        resident: float = self.process.memory_info().rss / 1e6
        return resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="how often one policy and many are measured, in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each of these measurements")
    parser.add_argument("--swap-seconds", type=int, default=60, help="of swapping, with one swap a second")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require("wrk")
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder:
        script = write_request(Path(folder))
        result = {
            "swapping": measure_swapping(Path(folder) / "swapping", options.swap_seconds, script),
            "many": measure_many(Path(folder) / "many", options.policies, options.rounds, options.seconds, script),
        }
    if options.json:
        print(json.dumps(result))
        return
    for title, figures in result.items():
        print(title, *(f"  {name}: {value:,.3g}" for name, value in figures.items()), sep="\n")


def measure_swapping(folder: Path, seconds: int, script: Path) -> dict[str, float]:
    """One server under load, without swaps and with one every second; a failed request ends the benchmark."""
    models = folder / "models"
    q_network_policy(models, NAME)
    drafts = [q_network_policy(folder / "drafts", NAME, version=version).path for version in range(2, seconds + 2)]
    with serving(models) as server:
        steady = [run_wrk(server.port, CONNECTIONS, 5, script)]
        before_mb = server.resident_mb
        publisher = threading.Thread(target=publish, args=(drafts, models / NAME))
        publisher.start()
        swapped = run_wrk(server.port, CONNECTIONS, seconds, script)
        publisher.join()
        after_mb = server.resident_mb
        steady.append(run_wrk(server.port, CONNECTIONS, 5, script))
        wait_until_active(server, len(drafts) + 1)
        steady_p99_ms = statistics.mean(load.p99_ms for load in steady)
        return {
            "swaps": read_metric(server, "rlway_swaps_total"),
            "rps": swapped.rps,
            "rps_against_steady": swapped.rps / statistics.mean(load.rps for load in steady),
            "p99_ms": swapped.p99_ms,
            "steady_p99_ms": steady_p99_ms,
            "p99_against_steady": swapped.p99_ms / steady_p99_ms,
            "growth_mb": after_mb - before_mb,
        }


def measure_many(folder: Path, policies: int, rounds: int, seconds: int, script: Path) -> dict[str, float]:
    """Two servers side by side: one with a single policy, one with many; the same policy is asked on both."""
    for i in range(policies):
        q_network_policy(folder / "many", f"{NAME}-{i}" if i else NAME)
    q_network_policy(folder / "one", NAME)
    loads: dict[str, list[Load]] = {"one": [], "many": []}
    with serving(folder / "one") as one, serving(folder / "many") as many:
        memory_mb = (many.resident_mb - one.resident_mb) / (policies - 1)
        idle = idle_cpu(many)
        for _ in range(rounds):
            for name, server in (("one", one), ("many", many)):
                loads[name].append(run_wrk(server.port, CONNECTIONS, seconds, script))
        return {
            "policies": policies,
            "rps_against_one": median_ratio(*([load.rps for load in loads[name]] for name in ("many", "one"))),
            "resident_mb_one": one.resident_mb,
            "mb_per_further_policy": memory_mb,
            "ready_s_one": one.ready_s,
            "ready_s_many": many.ready_s,
            "idle_cpu_percent": idle,
        }


@contextmanager
def serving(models: Path) -> Iterator[Server]:
    port = free_port()
    started_s = time.perf_counter()
    with running(rlway_command(models, port, "--default", NAME)) as process:
        wait_until_answering(port)
        yield Server(port, psutil.Process(process.pid), time.perf_counter() - started_s)


def publish(drafts: list[Path], policy: Path) -> None:
    """Publishes one version every second by renaming, as the exporter does."""
    for draft in drafts:
        draft.rename(policy / draft.name)
        time.sleep(1)


def idle_cpu(server: Server, seconds: float = 5.0) -> float:
    """Percent of a core that an idle server uses."""
    server.process.cpu_percent()
    time.sleep(seconds)
    percent: float = server.process.cpu_percent()
    return percent


def wait_until_active(server: Server, version: int, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while describe(server)["version"] != version:
        if time.monotonic() > deadline:
            sys.exit(f"benchmarks/swapping.py: version {version} never became active.")
        time.sleep(0.05)


def describe(server: Server) -> dict[str, Any]:
    fields: dict[str, Any] = httpx.get(f"http://127.0.0.1:{server.port}/v1/policies/{NAME}").json()
    return fields


def read_metric(server: Server, name: str) -> float:
    lines = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
