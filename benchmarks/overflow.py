"""A server's goodput when it is offered three times its capacity.

In:      a 4→100→2 Q-network; requests with a deadline; a C compiler for load.c (Debian's gcc).
Out:     the capacity, from a closed loop; then, from an open loop at a multiple of it, the goodput (answers within
         their deadline, counted from when the request was due) relative to the capacity, the latency of accepted
         requests, and the outcome of the others.

The same program measures capacity with the same bodies in the same round. In the open loop, requests are due at fixed
times, in turn on all connections, whether or not answers have arrived. A caller with one request at a time gives up the
requests that become due while it waits, as a robot goes on to its next step: a thousand such callers wait briefly, four
thousand for longer than the deadline. Callers that pipeline send every request, and the server must refuse what it
cannot answer. A request names the milliseconds that are left of its deadline when it is sent. A closed loop of requests
with an impossible deadline shows the cost of a refusal. The server has one core, and the load another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rig import (
    OBSERVATION,
    Offer,
    compile_load,
    find_compiler,
    print_table,
    rlway_command,
    run_load,
    running,
    wait_until_answering,
)
from tests.bundles import q_network_policy
from tests.ports import free_port
from tests.servers import act_request

NAME = "cartpole"
KINDS = {  # connections, and how many requests of each may be unanswered
    "1,000 callers, one request at a time": (1000, 1),
    "4,000 callers, one request at a time": (4000, 1),
    "1,000 callers that pipeline": (1000, 64),
}
REFUSED = "nothing but refusals"
GOODPUT = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--times", type=float, default=3.0, help="how many times the capacity is offered")
    parser.add_argument("--connections", type=int, default=128, help="of the closed loop")
    parser.add_argument("--deadline-ms", type=float, default=50.0)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="for the server, last")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not find_compiler():
        print("benchmarks/overflow.py is left out: there is no C compiler for load.c.", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name:
        folder = Path(name)
        q_network_policy(folder / "models", NAME)
        port = free_port()
        with running(rlway_command(folder / "models", port, *options.options), log=folder / "log"):
            wait_until_answering(port)
            rounds = [measure(folder, port, options) for _ in range(options.rounds)]
    report(rounds, options)


def measure(folder: Path, port: int, options: argparse.Namespace) -> dict[str, Offer]:
    """Measures one round: capacity, refusals, then a multiple of the capacity with each kind of caller."""
    program = compile_load(folder)
    request, impossible = folder / "request", folder / "impossible"
    request.write_bytes(request_within("#" * 8))  # the milliseconds that are left
    impossible.write_bytes(request_within("0.000001"))
    deadline_ms, seconds = options.deadline_ms, options.seconds
    capacity = run_load(program, port, request, options.connections, seconds, deadline_ms=deadline_ms)
    offers = {"capacity": capacity, REFUSED: run_load(program, port, impossible, options.connections, seconds)}
    for kind, (connections, in_flight) in KINDS.items():
        offers[kind] = run_load(
            program,
            port,
            request,
            connections,
            seconds,
            in_flight=in_flight,
            rate=options.times * capacity.rps,
            deadline_ms=deadline_ms,
        )
    return offers


def request_within(deadline_ms: str) -> bytes:
    body = f'{{"observation": {json.dumps(OBSERVATION)}, "deadline_ms": {deadline_ms}}}'
    return act_request(body.encode(), path=f"/v1/policies/{NAME}/act")


def report(rounds: list[dict[str, Offer]], options: argparse.Namespace) -> None:
    rows = [summarize(kind, rounds, options.deadline_ms) for kind in rounds[0]]
    if options.json:
        print(json.dumps({"overflow": rows, "times": options.times, "deadline_ms": options.deadline_ms}))
        return
    columns = ("asked", "goodput/s", "against capacity", "p50 ms", "p99 ms", "late", "429", "503", "504", "given up")
    counts = ("late", "refused", "unavailable", "expired", "given_up")
    print_table(
        (*columns, "asker's lag p99 ms"),
        [
            (
                row["asked"],
                f"{row['rps']:,.0f}",
                f"{row['goodput']:.0%}",
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                *(f"{row[field]:,.0f}" for field in counts),
                f"{row['lag_p99_ms']:.1f}",
            )
            for row in rows
        ],
    )
    print(
        f"\n{options.times:g} times capacity, deadline {options.deadline_ms:g} ms; requests/s, medians of the rounds;"
        " p50 and p99 are of the 200s, from the moment each was due."
    )
    print(f"A refusal costs {rows[0]['rps'] / rows[1]['expired']:.2f} of an answer.")
    for row in rows[2:]:
        met = row["goodput"] >= GOODPUT and row["p99_ms"] <= options.deadline_ms
        print(f"{row['asked']}: at least {GOODPUT:.0%} and p99 within the deadline: {'met' if met else 'missed'}")


def summarize(kind: str, rounds: list[dict[str, Offer]], deadline_ms: float) -> dict[str, Any]:
    offers = [offers[kind] for offers in rounds]
    goodput = statistics.median(offers[kind].rps / offers["capacity"].rps for offers in rounds)
    fields = {field: statistics.median(getattr(offer, field) for offer in offers) for field in Offer._fields}
    return {"asked": kind, "goodput": goodput, "deadline_ms": deadline_ms, **fields}


if __name__ == "__main__":
    main()
