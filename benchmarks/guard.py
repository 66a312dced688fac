"""What a guard costs: on the server, on a robot, and in C, for a policy of eight actions that violate nothing.

In:      a 4→100→8 policy, with and without limits; a C compiler (Debian's gcc).
Out:     the processor's time that the server takes for an action at 32 connections, with a guard against without, per
         round; microseconds more for an action of EdgePolicy; nanoseconds of `rlway_guard`. Then the same for actions
         that all violate a limit.

One server serves the policy with and without a guard, so both are measured in turn on the same process; a second policy
without a guard shows how far such figures can be trusted. The server has one core, and the load another. Processor time
counts, and of the robot and of C the best round, because other work on the machine disturbs these least.

    PYTHONPATH=.:export .venv/bin/python benchmarks/guard.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from onnx import TensorProto, helper

from benchmarks.rig import (
    OBSERVATION,
    Offer,
    compile_load,
    median_ratio,
    print_table,
    rlway_command,
    run_load,
    running,
    take_turns,
    wait_until_answering,
)
from rlway_client import EdgePolicy
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_export.formats.c.guard import CGuard
from rlway_export.formats.c.signature import Parameter
from tests.bundles import write_bundle
from tests.onnx_models import Values, make_model, random_weights, relu_layers
from tests.ports import free_port
from tests.replaying import guarded
from tests.servers import act_request

ACTIONS = 8
SPEC = TensorSpec("action", (ACTIONS,), "float32", -1, 1)
CALLS, C_CALLS = 500, 5_000_000
WARM_UP_S = 0.5  # of load.c
LIMITS = {  # none of which the policy's actions violate
    "range": ActionLimits(minimum=-0.99, maximum=0.99, safe=0.0),
    "range and step": ActionLimits(minimum=-0.99, maximum=0.99, change_per_step=0.5, safe=0.0),
    "range, step and rate": ActionLimits(
        minimum=-0.99, maximum=0.99, change_per_step=0.5, change_per_second=1e9, safe=0.0
    ),
}
ALWAYS = ActionLimits(maximum=-0.99, safe=-1.0)  # every action violates it
MOST = {"server, {}: times the time without": 1.02, "robot, {}: µs more": 1.0, "C, {}: ns": 50.0}
MAIN = """
#include <stdio.h>
#include <time.h>
static float action[8], before[8];
int main(void) {
    struct timespec from, to;
    long violated = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (long i = 0; i < %d; i++) {
        action[i & 7] = (float)(i & 15) * 0.01f;
        violated += rlway_guard(before, 0.01, action);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    const double taken_ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    printf("%%g %%ld\\n", taken_ns / %d, violated);
    return 0;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each load is measured, in turn")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement of the server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name:
        folder = Path(name)
        figures = (
            measure_server(folder, options.rounds, options.seconds)
            | measure_robot(folder, 20 * options.rounds)
            | measure_c(folder, options.rounds)
        )
    most = {pattern.format(limits): most for pattern, most in MOST.items() for limits in LIMITS}
    if options.json:
        print(json.dumps({"figures": figures, "at_most": most}))
        return
    rows = [(name, f"{value:.3g}", *verdict(name, value, most)) for name, value in figures.items()]
    print_table(("figure", "measured", "bound", ""), rows)


def verdict(name: str, value: float, most: dict[str, float]) -> tuple[str, str]:
    if name in most:
        return f"at most {most[name]:g}", "met" if value <= most[name] else "missed"
    return "–", ""


def policy(models: Path, name: str, limits: ActionLimits | None = None) -> Path:
    """The policy's bundle."""
    constants: dict[str, Any] = {}
    generator = np.random.default_rng(0)
    nodes, value = relu_layers([4, 100], "observation", constants, generator)
    constants |= {"w": random_weights((100, ACTIONS), generator)}
    nodes += [helper.make_node("MatMul", [value, "w"], ["loc"]), helper.make_node("Tanh", ["loc"], ["action"])]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 4])]
    model = make_model(nodes, inputs, [("action", TensorProto.FLOAT, ["B", ACTIONS])], constants)
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (4,), "float32")],
        action=SPEC,
        noise=None,
    )
    bundle = write_bundle(models, manifest, model)
    return bundle.path if limits is None else guarded(bundle, guard(limits)).path


def guard(limits: ActionLimits) -> Guard:
    return Guard(schema_version=1, actions={"action": limits})


def measure_server(folder: Path, rounds: int, seconds: float) -> dict[str, float]:
    """The ratio of each round, of which the median counts."""
    models = folder / "served"
    for name, limits in (("free", None), ("range", LIMITS["range"]), ("alike", None), ("always", ALWAYS)):
        policy(models, name, limits)
    program, port = compile_load(folder), free_port()
    loads: dict[str, Callable[[], float]] = {}
    with running(rlway_command(models, port)) as server:
        process = psutil.Process(server.pid)
        for name in ("free", "range", "alike", "always"):
            path = f"/v1/policies/{name}/act"
            wait_until_answering(port, path)
            request = folder / f"{name}.http"
            request.write_bytes(act_request({"observation": OBSERVATION}, path=path))
            load = partial(run_load, program, port, request, 32, seconds)
            loads[name] = partial(server_us, process, load, seconds)
        times = take_turns(loads, rounds)
    return {
        "server: µs of the processor for an action without a guard": min(times["free"]),
        "server, range: times the time without": median_ratio(times["range"], times["free"]),
        "server, another policy without a guard: times the time without": median_ratio(times["alike"], times["free"]),
        "server, all clamped: times the time without": median_ratio(times["always"], times["free"]),
    }


def server_us(process: psutil.Process, load: Callable[[], Offer], seconds: float) -> float:
    """The processor's time for one action; the load's half second of warming up counts in both."""
    before = process.cpu_times()
    offer = load()
    after = process.cpu_times()
    taken_s = after.user + after.system - before.user - before.system
    return float(taken_s / (offer.rps * (seconds + WARM_UP_S)) * 1e6)


def measure_robot(folder: Path, rounds: int) -> dict[str, float]:
    """How much longer an action takes than that of the same policy without its guard, in the best round of each."""
    turns: dict[str, Callable[[], float]] = {}
    for i, (name, limits) in enumerate((*LIMITS.items(), ("all clamped", ALWAYS))):
        acting = EdgePolicy(policy(folder / "robots", f"p{i}", limits), "model.onnx")
        free = copy(acting)  # it shares the session and the arrays, since their places in memory decide as much
        free._guard = None
        turns |= {f"{name}, free": partial(act_us, free), name: partial(act_us, acting)}
    times = take_turns(turns, rounds)
    figures = {"robot: µs of an action without a guard": min(times["range, free"])}
    return figures | {
        f"robot, {name}: µs more": min(times[name]) - min(times[f"{name}, free"]) for name in (*LIMITS, "all clamped")
    }


def act_us(acting: EdgePolicy) -> float:
    observation: Sequence[float] = OBSERVATION
    for _ in range(CALLS // 5):  # the policy before it left other code in the processor's caches
        acting.act(observation)
    began_s = time.thread_time()
    for _ in range(CALLS):
        acting.act(observation)
    return (time.thread_time() - began_s) / CALLS * 1e6


def measure_c(folder: Path, rounds: int) -> dict[str, float]:
    """The processor's time for one call, in the best round."""
    programs: dict[str, Path] = {}
    for name, limits in (*LIMITS.items(), ("all clamped", ALWAYS)):
        made = CGuard(guard(limits), [Parameter(SPEC, "action", "float")])
        head = f"#include <math.h>\n#include <stddef.h>\n{made.macros()}"
        source = folder / "guard.c"
        source.write_text(f"{head}__attribute__((noinline)) {made.function().split('#endif')[1].lstrip()}")
        source.write_text(source.read_text() + MAIN % (C_CALLS, C_CALLS))
        programs[name] = folder / f"c-{len(programs)}"
        subprocess.run(["cc", "-std=gnu99", "-O3", "-o", str(programs[name]), str(source), "-lm"], check=True)
    times = take_turns({name: partial(call_ns, program) for name, program in programs.items()}, rounds)
    return {f"C, {name}: ns": min(found) for name, found in times.items()}


def call_ns(program: Path) -> float:
    return float(subprocess.check_output([str(program)], text=True).split()[0])


if __name__ == "__main__":
    main()
