"""The policy server beside general model servers, each configured for throughput as its documentation recommends.

In:      the same ONNX file for all, a 4→100→2 Q-network; wrk (Debian's package of that name).
Out:     a table of medians, and the ratio of RLway's requests per second to each peer's, per round.
Refuses: a peer whose actions differ from RLway's.

    PYTHONPATH=. .venv/bin/python benchmarks/peers.py --install     # once: an environment for each, in .peers/

Every server has one core, and wrk the other. One peer at a time runs beside RLway; both are measured in turn.
benchmarks/peers/ holds each peer's program, and in NAME.txt its versions. Peers that batch are measured twice: with a
setting for any load, and with the best one for this load, batches of as many rows as there are connections.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rig import (
    HERE,
    OBSERVATION,
    Load,
    median_ratio,
    medians,
    print_table,
    require,
    rlway_command,
    run_wrk,
    running,
    take_turns,
    wait_until_answering,
    write_request,
)
from tests.bundles import q_network_policy
from tests.ports import free_port

FILES = HERE / "peers"
UV = HERE.parent / ".tools" / "bin" / "uv"
NAME = "cartpole"


class Peer(NamedTuple):
    """A server's command, its route and request, how to read its answer, and the bound of RLway's ratio."""

    command: list[str]  # of its environment's bin/; PORT stands for the port
    path: str
    question: str  # OBSERVATION stands for the observation
    read_action: Callable[[Any], Any]
    bound: float
    batches: bool = True


PLAIN = '{"observation": OBSERVATION}'
TENSOR = '{"inputs": [{"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": OBSERVATION}]}'
PEERS = {
    "mosec": Peer(["python", "mosec_server.py", "--port", "PORT"], "/inference", PLAIN, lambda a: a["action"], 7),
    "litserve": Peer(["python", "litserve_server.py", "PORT"], "/predict", PLAIN, lambda a: a["action"], 50),
    "mlserver": Peer(
        ["mlserver", "start", "MODEL"], f"/v2/models/{NAME}/infer", TENSOR, lambda a: a["outputs"][0]["data"][0], 30
    ),
    "kserve": Peer(
        [
            "python",
            "kserve_server.py",
            "--http_port",
            "PORT",
            "--enable_grpc",
            "false",
            "--enable_latency_logging",
            "false",
        ],
        f"/v1/models/{NAME}:predict",
        '{"instances": [OBSERVATION]}',
        lambda a: a["predictions"][0],
        30,
        batches=False,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of RLway and a peer in turn")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".peers", help="of the peers' environments")
    parser.add_argument("--install", action="store_true", help="make the environments, and measure nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.install:
        for name in options.peers:
            install(options.folder.resolve() / name, name)
        return
    require("wrk")
    installed = [name for name in options.peers if (options.folder / name / "bin" / "python").exists()]
    if not installed:
        print(
            "benchmarks/peers.py is left out: no peer is installed; --install makes their environments.",
            file=sys.stderr,
        )
        return
    if missing := set(options.peers) - set(installed):
        print(f"not installed, and left out: {', '.join(sorted(missing))}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name:
        folder = Path(name)
        q_network_policy(folder / "models", NAME)
        port = free_port()
        with running(rlway_command(folder / "models", port), log=folder / "rlway.log"):
            wait_until_answering(port)
            batchings = {
                "64 rows or 1 ms": (64, 0.001),
                f"{options.connections} rows or 10 ms": (options.connections, 0.01),
            }
            loads = {
                (peer, batching): measure(peer, *batchings[batching], folder, port, options)
                for peer in installed
                for batching in list(batchings)[: 2 if PEERS[peer].batches else 1]
            }
    report(loads, options.connections, options.json)


def install(environment: Path, name: str) -> None:
    """Makes the peer's environment with the versions in NAME.txt; uv is in .tools/ after `make setup`."""
    subprocess.run([UV, "venv", "--quiet", "--allow-existing", "--python", "3.11", environment], check=True)
    subprocess.run([UV, "pip", "sync", "--quiet", "--python", environment, FILES / f"{name}.txt"], check=True)
    print(f"{name} is installed in {environment}")


def measure(
    name: str, rows: int, wait_s: float, folder: Path, rlway_port: int, options: argparse.Namespace
) -> dict[str, list[Load]]:
    """Measures RLway and one peer in turn."""
    peer, port = PEERS[name], free_port()
    model = write_settings(folder / f"{name}-{rows}", port, rows, wait_s)
    words = {"PORT": str(port), "MODEL": str(model)}
    binary, *arguments = (words.get(word, word) for word in peer.command)
    command = [str((options.folder / name / "bin").resolve() / binary), *arguments]
    onnx = folder / "models" / NAME / "1" / "model.onnx"
    environment = {
        "RLWAY_ONNX": str(onnx),
        "RLWAY_ROWS": str(rows),
        "RLWAY_WAIT_S": str(wait_s),
        "PYTHONPATH": str(FILES),
    }
    with running(command, environment, folder / f"{name}.log", FILES):
        compare_actions(name, port, rlway_port, folder / f"{name}.log")
        script = write_request(folder, question(peer, OBSERVATION))
        seconds, connections = options.seconds, options.connections
        run_wrk(port, connections, 1, script, peer.path)  # warms it up
        loads = {
            "rlway": partial(run_wrk, rlway_port, connections, seconds, write_request(folder)),
            name: partial(run_wrk, port, connections, seconds, script, peer.path),
        }
        return take_turns(loads, options.rounds)


def write_settings(model: Path, port: int, rows: int, wait_s: float) -> Path:
    """Writes MLServer's settings: adaptive batching, and only one process, because there is one core."""
    model.mkdir()
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
    (model / "settings.json").write_text(json.dumps(settings))
    policy = {
        "name": NAME,
        "implementation": "mlserver_runtime.PolicyRuntime",
        "max_batch_size": rows,
        "max_batch_time": wait_s,
    }
    (model / "model-settings.json").write_text(json.dumps(policy))
    return model


def question(peer: Peer, observation: list[float]) -> bytes:
    return peer.question.replace("OBSERVATION", json.dumps(observation)).encode()


def compare_actions(name: str, port: int, rlway_port: int, log: Path) -> None:
    """Ends the benchmark unless the peer's actions equal RLway's for two observations."""
    peer = PEERS[name]
    for observation in (OBSERVATION, [-value for value in OBSERVATION]):
        try:
            answer = json.loads(wait_until_answering(port, peer.path, question(peer, observation)))
        except OSError as error:
            sys.exit(f"benchmarks/peers.py: {name} does not answer ({error}); its log ends:\n{log.read_text()[-2000:]}")
        ours = json.loads(wait_until_answering(rlway_port, body=json.dumps({"observation": observation}).encode()))
        if peer.read_action(answer) != ours["action"]:
            sys.exit(f"benchmarks/peers.py: {name} answers {answer} where RLway answers {ours}.")


def report(loads: dict[tuple[str, str], dict[str, list[Load]]], connections: int, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for (name, batching), turns in loads.items():
        ratio = median_ratio([load.rps for load in turns["rlway"]], [load.rps for load in turns[name]])
        figures = {"rlway_rps": medians(turns["rlway"])["rps"], "rlway_ratio": ratio, "bound": PEERS[name].bound}
        batches = batching if PEERS[name].batches else "–"
        rows.append({"server": f"{name} {version(name)}", "batches": batches, **medians(turns[name]), **figures})
    if as_json:
        print(json.dumps({"peers": rows, "connections": connections}))
        return
    print_table(
        (
            "server",
            "batches",
            f"requests/s at c={connections}",
            "p50 ms",
            "p99 ms",
            "RLway beside it",
            "ratio",
            "at least",
            "",
        ),
        [
            (
                r["server"],
                r["batches"],
                f"{r['rps']:,.0f}",
                f"{r['p50_ms']:.2f}",
                f"{r['p99_ms']:.2f}",
                f"{r['rlway_rps']:,.0f}",
                f"{r['rlway_ratio']:.1f}×",
                f"{r['bound']:g}×",
                "met" if r["rlway_ratio"] >= r["bound"] else "missed",
            )
            for r in rows
        ],
    )


def version(name: str) -> str:
    lines = (FILES / f"{name}.txt").read_text().splitlines()
    return next(line.removeprefix(f"{name}==") for line in lines if line.startswith(f"{name}=="))


if __name__ == "__main__":
    main()
