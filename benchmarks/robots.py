"""Robots that share a slow policy over openpi's wire, beside the way in which openpi itself serves them.

In:      a policy of 20 ms a run, whatever its batch; a C compiler for load.c (Debian's gcc).
Out:     actions/s, mean and p99 latency for 1, 8 and 64 robots, each of which waits for its action; ratios per round,
         with their bounds.

openpi's server runs the model in each connection's handler, so robots wait for one another. Here they share a run. The
peer is that pattern with the same model, in benchmarks/peers/openpi_pattern.py; the server has one core, and the load
another.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.protocols import HANDSHAKE, openpi_answer_bytes, openpi_message
from benchmarks.rig import (
    HERE,
    Offer,
    compile_load,
    median_ratio,
    medians,
    print_table,
    rlway_command,
    run_load,
    running,
    take_turns,
)
from benchmarks.slow_policy import slow_policy
from benchmarks.wires import judged, masked_frame
from tests.ports import free_port

NAME = "slow"
OURS, THEIRS = "rlway", "openpi's pattern"
BOUNDS = {"throughput of 8 robots against 1": 7.0}
MOST = {"p99 of 8 robots, in runs": 2.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured, in turn")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--robots", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--run-ms", type=float, default=20.0, help="of the policy")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        bundle = slow_policy(folder / "models", options.run_ms, NAME)
        program = compile_load(folder)
        frame, handshake = folder / "frame", folder / "handshake"
        frame.write_bytes(masked_frame(openpi_message()))
        handshake.write_bytes(HANDSHAKE.format(name=NAME, stream="openpi").encode())
        loads: dict[str, Callable[[], Offer]] = {}
        urls: list[str] = []
        for server, port in ((OURS, free_port()), (THEIRS, free_port())):
            peer = [sys.executable, str(HERE / "peers/openpi_pattern.py"), str(bundle.path / "model.onnx"), str(port)]
            command = rlway_command(folder / "models", port) if server == OURS else peer
            stack.enter_context(running(command))
            url = f"ws://127.0.0.1:{port}/v1/policies/{NAME}/openpi"
            answer_bytes = openpi_answer_bytes(url, openpi_message())
            ask = partial(run_load, program, port, frame, seconds=options.seconds, handshake=handshake)
            urls.append(url)
            for robots in options.robots:
                load = partial(ask, connections=robots, answer_bytes=answer_bytes, greetings=1)
                loads[f"{server}, {robots}"] = partial(run_when_idle, urls, load)
        results = take_turns(loads, options.rounds)
    report(results, options.robots, options.json)


def run_when_idle(urls: list[str], load: Callable[[], Offer]) -> Offer:
    """Measures once no server still works for robots that have gone: openpi's pattern runs all that they asked for."""
    for url in urls:
        openpi_answer_bytes(url, openpi_message())
    return load()


def report(results: dict[str, list[Offer]], robots: list[int], as_json: bool) -> None:
    figures: dict[str, float] = {}
    alone = results[f"{OURS}, {robots[0]}"]
    run_ms = [offer.mean_ms for offer in alone]
    for many in robots[1:]:
        ours, theirs = results[f"{OURS}, {many}"], results[f"{THEIRS}, {many}"]
        rps = [offer.rps for offer in ours]
        figures |= {
            f"throughput of {many} robots against {robots[0]}": median_ratio(rps, [offer.rps for offer in alone]),
            f"p99 of {many} robots, in runs": median_ratio([offer.p99_ms for offer in ours], run_ms),
            f"throughput of {many} robots against {THEIRS}": median_ratio(rps, [offer.rps for offer in theirs]),
        }
    table = {name: medians(offers) for name, offers in results.items()}
    if as_json:
        print(json.dumps({"robots": table, "figures": figures, "at_least": BOUNDS, "at_most": MOST}))
        return
    print_table(
        ("server, robots", "actions/s", "mean ms", "p50 ms", "p99 ms"),
        [
            (name, f"{r['rps']:,.1f}", *(f"{r[field]:.1f}" for field in ("mean_ms", "p50_ms", "p99_ms")))
            for name, r in table.items()
        ],
    )
    print_table(
        ("figure", "measured", "bound", ""), [(name, f"{v:.3g}", *verdict(name, v)) for name, v in figures.items()]
    )


def verdict(name: str, value: float) -> tuple[str, str]:
    if name in MOST:
        return f"at most {MOST[name]:g}", "met" if value <= MOST[name] else "missed"
    return judged(value, BOUNDS.get(name))


if __name__ == "__main__":
    main()
