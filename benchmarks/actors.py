"""Environment steps a second that reach a Reverb server: four actors compared with one, each in its own process.

In:      nothing but this machine: .venv-train/bin/python benchmarks/actors.py
Out:     a table: steps a second that arrive at the server, and the CPU time, for each number of actors.

Server and actors are the commands that people run: `rlway train replay` and `rlway train actor`, on CartPole-v1, 8
environments each. In place of a learner this program announces the job and a policy, a Q-network of 128-128 with
random weights. Nothing samples from the replay, and its limiter never blocks, so this measures stepping, writing and
receiving. Start-up is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from rlway_train.common.quiet import mute_native_stderr, quiet_libraries

Process = subprocess.Popen[str]
RLWAY = Path(sys.executable).with_name("rlway")
HIDDEN = 128


class Measured(NamedTuple):
    """The rates for one number of actors."""

    steps_per_s: float
    actors_cpu: float  # cores
    server_cpu: float  # cores


def announce(address: str) -> None:
    """Announces a job and an untrained policy, as a learner does at its start."""
    from rlway_train.config.settings import DqnSettings
    from rlway_train.distributed.channel import ActivePolicy, ActorJob, Channel, Weights

    channel = Channel(address)
    channel.announce(ActorJob.of(DqnSettings(hidden=(HIDDEN, HIDDEN)), "CartPole-v1", seed=0))
    rng = np.random.default_rng(0)
    shapes = [(4, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN, 2), (2,)]
    channel.publish(
        ActivePolicy(10_000, [Weights.of(0.1 * rng.standard_normal(shape, np.float32)) for shape in shapes])
    )


def measure(actors: int, seconds: float) -> Measured:
    """The rates over so many seconds, once every actor collects."""
    from rlway_train.distributed.channel import Channel

    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address = f"localhost:{port}"
    with ExitStack() as stack:
        server = stack.enter_context(running("replay", "--port", str(port), "--limiter", "min-size"))
        hear(server, "on port")
        announce(address)
        started = [stack.enter_context(running("actor", "--replay", address)) for _ in range(actors)]
        for actor in started:
            hear(actor, "acting in CartPole")
        channel = Channel(address)
        before, cpu, server_cpu = channel.rows().inserted, sum(map(cpu_s, started)), cpu_s(server)
        start_s = time.perf_counter()
        time.sleep(seconds)
        took_s = time.perf_counter() - start_s
        return Measured(
            (channel.rows().inserted - before) / took_s,
            (sum(map(cpu_s, started)) - cpu) / took_s,
            (cpu_s(server) - server_cpu) / took_s,
        )


@contextmanager
def running(*words: str) -> Iterator[Process]:
    """Runs the command until the end of the block."""
    process = subprocess.Popen([str(RLWAY), "train", *words], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def hear(process: Process, words: str) -> None:
    """Reads stderr up to a line with these words."""
    assert process.stderr is not None
    if not any(words in line for line in process.stderr):
        raise RuntimeError(f"{process.args!r}: ended without saying {words!r}")


def cpu_s(process: Process) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn; the median counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    quiet_libraries()
    mute_native_stderr()
    rounds = [{n: measure(n, options.seconds) for n in (1, 4)} for _ in range(options.rounds)]
    of = {n: Measured(*map(median, zip(*(one[n] for one in rounds), strict=True))) for n in (1, 4)}
    times = of[4].steps_per_s / of[1].steps_per_s
    if options.json:
        print(json.dumps({"steps_per_s": {n: round(of[n].steps_per_s) for n in of}, "times": round(times, 2)}))
        return
    print(f"| CartPole-v1 over Reverb, {os.cpu_count()} CPUs | steps/s | cores of the actors | cores of the server |")
    print("|---|---|---|---|")
    for n, one in of.items():
        name = "1 actor" if n == 1 else f"{n} actors"
        print(f"| {name} | {one.steps_per_s:,.0f} | {one.actors_cpu:.2f} | {one.server_cpu:.2f} |")
    print(f"| 4 actors / 1 actor | {times:.2f} | | |")


if __name__ == "__main__":
    main()
