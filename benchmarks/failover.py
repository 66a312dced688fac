"""A control loop while its server is broken in five ways: is there an action at every tick, and in time?

In:      PYTHONPATH=. .venv/bin/python benchmarks/failover.py --seconds 60 --rate-hz 200
Out:     a table with one row per fault, and JSON with --json.

Every `EACH_S` the server is broken or mended. Beside the loop, an empty loop of the same rate runs in a process of its
own: what it is late is the operating system's part.

    no action      ticks without an action
    first local    from the beginning of the first tick that the server did not answer to its action, milliseconds
    over           ticks whose action came more than 1 ms after `within_ms`, and the worst of them, milliseconds
    empty          ticks of the empty loop that were more than 1 ms late, and the worst of them, milliseconds
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.processor import processor
from rlway_client import EdgePolicy, PolicyClient
from rlway_client.contract.specs import FloatArray
from tests.bundles import q_network_policy
from tests.middleman import middleman
from tests.servers import running_server

POLICY, HIDDEN = "robot", (64, 64)
EACH_S = 5.0
FAULTS = (
    "none",
    "killed",
    "started again",
    "frozen",
    "thawed",
    "100 ms slower",
    "quick again",
    "cut off",
    "whole again",
)
LATE_MS = 1.0


class Tick(NamedTuple):
    """One tick of the loop; times of `time.monotonic()`."""

    fault: str
    due_s: float
    begun_s: float
    ended_s: float
    source: str


def break_things(models: Path, log: Path, pipe: Connection) -> None:
    """A server behind a network; breaks and mends them as the pipe says."""
    with ExitStack() as stack:
        running = running_server(models, log)
        server = running.__enter__()
        network = stack.enter_context(middleman(server.host, server.port))
        pipe.send(network.url)
        for fault in iter(pipe.recv, "end"):
            match fault:
                case "killed":
                    server.process.kill()
                case "started again":
                    running.__exit__(None, None, None)
                    running = running_server(models, log)
                    server = running.__enter__()
                    network.server = server.host, server.port
                case "frozen":
                    server.process.send_signal(signal.SIGSTOP)
                case "thawed":
                    server.process.send_signal(signal.SIGCONT)
                case "100 ms slower" | "quick again":
                    network.delay_s = 0.1 if fault == "100 ms slower" else 0.0
                case "cut off" | "whole again":
                    network.swallows = fault == "cut off"
        running.__exit__(None, None, None)


def run_loop(
    rate_hz: float, seconds: float, act: Callable[[int, float], str], tell: Callable[[str], None]
) -> list[Tick]:
    """Calls `act` at every tick, and `tell` with each fault in turn."""
    ticks: list[Tick] = []
    begin_s, told = time.monotonic(), 0
    for i in range(int(rate_hz * seconds)):
        due_s = begin_s + i / rate_hz
        if due_s - begin_s >= told * EACH_S:
            tell(FAULTS[told % len(FAULTS)])
            told += 1
        time.sleep(max(0.0, due_s - time.monotonic()))
        begun_s = time.monotonic()
        source = act(i, begun_s)
        ticks.append(Tick(FAULTS[(told - 1) % len(FAULTS)], due_s, begun_s, time.monotonic(), source))
    return ticks


def empty_loop(rate_hz: float, seconds: float, pipe: Connection) -> None:
    """The same without a policy."""
    pipe.send(run_loop(rate_hz, seconds, lambda _, __: "", lambda _: None))


def rows_of(ticks: list[Tick], empty: list[Tick], within_ms: float) -> list[dict[str, Any]]:
    """The table's rows."""
    rows = []
    for fault in dict.fromkeys(tick.fault for tick in ticks):
        own = [tick for tick in ticks if tick.fault == fault]
        over = np.array([(tick.ended_s - tick.begun_s) * 1e3 - within_ms for tick in own])
        late = np.array([(tick.begun_s - tick.due_s) * 1e3 for tick in empty if tick.fault == fault])
        first = next((tick for tick in own if tick.source != "server"), None)
        rows.append(
            {
                "fault": fault,
                "ticks": len(own),
                "server": sum(tick.source == "server" for tick in own),
                "no_action": sum(not tick.source for tick in own),
                "first_local_ms": (first.ended_s - first.begun_s) * 1e3 if first else None,
                "over": int((over > LATE_MS).sum()),
                "over_worst_ms": float(max(over.max(), 0.0)),
                "empty": int((late > LATE_MS).sum()),
                "empty_worst_ms": float(late.max()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate-hz", type=float, default=200.0)
    parser.add_argument("--within-ms", type=float, default=4.0)
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()

    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        bundle = q_network_policy(models, POLICY, HIDDEN)
        pipe, end = spawn.Pipe()
        breaker = spawn.Process(target=break_things, args=(models, models.with_name("log"), end))
        breaker.start()
        empty_pipe, empty_end = spawn.Pipe()
        beside = spawn.Process(target=empty_loop, args=(options.rate_hz, options.seconds, empty_end))
        edge = EdgePolicy(bundle.path, "model.onnx")
        observations: FloatArray = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
        with PolicyClient(pipe.recv(), POLICY, fallback=edge, within_ms=options.within_ms) as client:
            assert client.fallback is not None
            client.fallback.wait_for_server(30)

            def act(i: int, taken_s: float) -> str:
                reply = client.ask(observations[i % 256], taken_s=taken_s)
                return reply.source if reply.action is not None else ""

            beside.start()
            ticks = run_loop(options.rate_hz, options.seconds, act, pipe.send)
            counts = client.fallback.counts
        pipe.send("end")
        rows = rows_of(ticks, empty_pipe.recv(), options.within_ms)
        breaker.join()
        beside.join()

    machine = processor()
    print(
        f"{options.rate_hz:g} Hz for {options.seconds:g} s, within {options.within_ms:g} ms, {machine['processor']}\n"
    )
    print("| server | ticks, by it | no action | first local, ms | over: ticks, worst ms | empty: ticks, worst ms |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        first = "–" if row["first_local_ms"] is None else f"{row['first_local_ms']:.2f}"
        print(
            f"| {row['fault']} | {row['ticks']}, {row['server']} | {row['no_action']} | {first} "
            f"| {row['over']}, {row['over_worst_ms']:.2f} | {row['empty']}, {row['empty_worst_ms']:.2f} |"
        )
    print(f"\n{counts}")
    if options.json:
        record = {**machine, "rate_hz": options.rate_hz, "within_ms": options.within_ms, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
