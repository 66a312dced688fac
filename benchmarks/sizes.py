"""Networks of usual sizes on one server: what each costs beyond its own arithmetic.

In:      a running server with the networks of `make_policies`; wrk.
Out:     `Size` by network, connections and round; each is compared with a reference of the same round.

    DQN     64-64 and 128-128, compared with 100 units and the same JSON
    SAC     256-256 on Minitaur's 28 numbers, compared with a request to a policy without hidden layers plus the
            network's own time per row in batches of this size
    CNN     84×84×4 octets, compared with a bare loop of onnxruntime over batches of the same size on the same core; and
            the time of `/healthz` meanwhile
"""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np

from benchmarks.networks import FRAME, MINITAUR, actor, camera
from benchmarks.rig import LOAD_CORE, OCTETS, PLAIN, SERVER_CORE, Load, pinned, run_wrk, write_request
from rlway_client.contract.bundle import Bundle
from tests.bundles import q_network_policy

HEALTH_EVERY_S = 0.01
BARE = """
import sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows, until_s = int(sys.argv[2]), float(sys.argv[3])
inputs = {"observation": numpy.zeros((rows, 84, 84, 4), numpy.uint8), "noise": numpy.zeros((rows, 6), numpy.float32)}
for _ in range(3):
    session.run(["action"], inputs)
began_s, runs = time.perf_counter(), 0
while time.perf_counter() - began_s < until_s:
    session.run(["action"], inputs)
    runs += 1
print(rows * runs / (time.perf_counter() - began_s))
"""


class Size(NamedTuple):
    """One measurement of one network."""

    load: Load
    ratio: float  # of its requests per second to its reference
    health_p99_ms: float


def make_policies(models: Path) -> dict[str, Bundle]:
    """Writes all networks into one folder."""
    hidden = {"100": (100,), "64-64": (64, 64), "128-128": (128, 128)}
    made = {name: q_network_policy(models, name, layers) for name, layers in hidden.items()}
    made |= {"sac-none": actor(models, "sac-none", ()), "sac-256-256": actor(models, "sac-256-256", (256, 256))}
    return made | {"cnn": camera(models, "cnn")}


class Sizes:
    """Measures the networks on a server's port."""

    def __init__(self, port: int, folder: Path, policies: dict[str, Bundle], seconds: float) -> None:
        self._port = port
        self._policies = policies
        self._seconds = seconds
        row = np.linspace(-1, 1, MINITAUR[0]).round(3).tolist()
        frame = np.random.default_rng(0).integers(0, 256, FRAME, np.uint8).tobytes()
        self._plain = write_request(folder, PLAIN)
        self._minitaur = write_request(folder, f'{{"observation": {row}}}'.encode())
        self._frame = write_request(folder, frame, OCTETS)

    def measure(self, connections: int) -> dict[str, Size]:
        """Measures one round: every network, each after its reference."""
        found = {}
        toy = self._load("100", self._plain, connections)
        found["100"] = Size(toy, 1.0, 0.0)
        for name in ("64-64", "128-128"):
            load = self._load(name, self._plain, connections)
            found[name] = Size(load, load.rps / toy.rps, 0.0)
        without = self._load("sac-none", self._minitaur, connections)
        load, row_s = self._load_and_row_s("sac-256-256", self._minitaur, connections)
        found["sac-256-256"] = Size(load, load.rps * (1 / without.rps + row_s), 0.0)
        found["cnn"] = self._measure_camera(connections)
        return found

    def _load(self, policy: str, script: Path, connections: int) -> Load:
        return run_wrk(self._port, connections, self._seconds, script, f"/v1/policies/{policy}/act")

    def _load_and_row_s(self, policy: str, script: Path, connections: int) -> tuple[Load, float]:
        """The load, and the seconds per row of the runs, from the server's metrics."""
        before = self._count(policy)
        load = self._load(policy, script, connections)
        after = self._count(policy)
        return load, (after["compute"] - before["compute"]) / (after["rows"] - before["rows"])

    def _measure_camera(self, connections: int) -> Size:
        before = self._count("cnn")
        with ExitStack() as stack:
            health = stack.enter_context(Health(self._port))
            load = self._load("cnn", self._frame, connections)
        after = self._count("cnn")
        rows = round((after["rows"] - before["rows"]) / (after["runs"] - before["runs"]))
        model = str(self._policies["cnn"].path / "model.onnx")
        command = [*pinned(SERVER_CORE), sys.executable, "-c", BARE, model, str(rows), str(self._seconds)]
        bare = float(subprocess.check_output(command, text=True))
        return Size(load, load.rps / bare, health.p99_ms)

    def _count(self, policy: str) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        labels = f'{{policy="{policy}",version="1"}}'
        names = {
            "rows": "rlway_batch_rows_sum",
            "runs": "rlway_batch_rows_count",
            "compute": "rlway_compute_seconds_sum",
        }
        return {
            key: next((float(line.split()[-1]) for line in lines if line.startswith(name + labels)), 0.0)
            for key, name in names.items()
        }


class Health:
    """Asks `/healthz` repeatedly on one connection, from the load's core."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._times_ms: list[float] = []
        self._ended = Event()
        self._thread = Thread(target=self._ask)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self._times_ms, 99))

    def _ask(self) -> None:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while not self._ended.wait(HEALTH_EVERY_S):
            began_s = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self._times_ms.append((time.perf_counter() - began_s) * 1e3)


def summarize(rounds: list[dict[str, Size]], value: Callable[[Size], float]) -> dict[str, float]:
    """The median of every network's value over the rounds."""
    return {name: statistics.median(value(found[name]) for found in rounds) for name in rounds[0]}
