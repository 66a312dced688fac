"""The whole line in one go: trains CartPole-v1, exports, serves, plays over HTTP and in process, loads the server.

`make demo` runs it. It needs only what `make setup` installs, takes less than a minute on two cores, and stops what it
started, also on Ctrl-C or when a step fails. It leaves runs/demo-N and a new version of models/cartpole behind. At the
end it says what is typical, from docs/demo.json: benchmarks/demos.py writes it, with the numbers of many seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
TRAIN = ROOT / ".venv-train/bin/rlway"  # TensorFlow lives here
SERVE = ROOT / ".venv/bin/rlway"  # and not here
ENOUGH = 475.0  # mean return that CartPole-v1 counts as solved; 500 is the most there is
STOP_S = 15.0
TYPICAL = ROOT / "docs/demo.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    started_s = time.monotonic()
    run = next(path for i in range(1, 10**6) if not (path := ROOT / f"runs/demo-{i}").exists())
    models = ROOT / "models"

    step("1/6  train", "DQN on CartPole-v1 with TF-Agents")
    trained = rlway(TRAIN, "train", "dqn", "--preset", "cartpole", "--seed", options.seed, "--run", run)
    step("2/6  export", "the best checkpoint as ONNX, TFLite and SavedModel")
    exported = rlway(TRAIN, "export", run, "--models", models, "--policy", "cartpole")
    print_parity(exported["parity"])
    step("3/6  serve", "the bundle over HTTP")
    with server(models) as url:
        step("4/6  play", "20 episodes in 4 remote environments, over HTTP")
        remote = rlway(SERVE, "play", "--url", url, "--policy", "cartpole", "--episodes", 20, "--envs", 4)
        step("5/6  edge", "20 episodes in process, with the TFLite file")
        edge = rlway(SERVE, "edge", exported["bundle"], "--episodes", 20)
        step("6/6  bench", "32 connections for 3 seconds")
        load = rlway(SERVE, "bench", "--url", url, "--policy", "cartpole", "--connections", 32, "--duration-s", 3)

    solved = min(remote["mean_return"], edge["mean_return"]) >= ENOUGH
    verdict = "solved" if solved else f"NOT SOLVED: expected a mean return of {ENOUGH:.0f} on both paths"
    rows = [
        ("random", trained["random_return"], None, ""),
        ("trained", trained["final_return"], None, f"{trained['steps']:,} steps in {trained['wall_s']:.0f} s"),
        ("over HTTP", remote["mean_return"], remote["actions_per_s"], "4 environments, one request each at a time"),
        ("TFLite", edge["mean_return"], edge["actions_per_s"], "in process, environment included"),
        (
            "server",
            None,
            load["achieved_rps"],
            "32 connections, p50 {p50:.2f} ms, p99 {p99:.2f} ms".format(**load["latency_ms"]),
        ),
    ]
    print(f"\n  {'':<10} {'mean return':>11} {'actions/s':>11}")
    for name, mean_return, rate, note in rows:
        shown = "" if mean_return is None else f"{mean_return:.1f}", "" if rate is None else f"{rate:,.0f}"
        print(f"  {name:<10} {shown[0]:>11} {shown[1]:>11}   {note}".rstrip())
    wall_s = time.monotonic() - started_s
    print(f"\n  {verdict}, in {wall_s:.0f} s")
    if TYPICAL.exists():  # not before it is measured
        print(f"  {typical(json.loads(TYPICAL.read_text()))}")
    print("  serve it yourself:  .venv/bin/rlway serve models")
    if options.json is not None:
        numbers = {
            "seed": options.seed,
            "wall_s": round(wall_s, 1),
            "steps": trained["steps"],
            "final_return": trained["final_return"],
            "remote_return": remote["mean_return"],
            "edge_return": edge["mean_return"],
        }
        options.json.write_text(json.dumps(numbers))
    return 0 if solved else 1


def typical(record: dict[str, Any]) -> str:
    """What benchmarks/demos.py measured, in one line."""
    demos = record["demos"]
    wall_s, steps = (sorted(demo[name] for demo in demos) for name in ("wall_s", "steps"))
    return (
        f"typical: {wall_s[len(wall_s) // 2]:.0f} s ({wall_s[0]:.0f} to {wall_s[-1]:.0f}) and "
        f"{steps[len(steps) // 2]:,} steps ({steps[0]:,} to {steps[-1]:,}), over {len(demos)} seeds on "
        f"{record['cpus']} cores of an {record['processor']}"
    )


def step(number: str, what: str) -> None:
    print(f"\n{number:<12} {what}", flush=True)


def rlway(command: Path, *words: Any) -> Any:
    """Runs one command to its end, its progress on our stderr, and returns its JSON."""
    process = subprocess.Popen([str(word) for word in (command, *words, "--json")], stdout=subprocess.PIPE)
    try:
        output, _ = process.communicate()
    except KeyboardInterrupt:  # Ctrl-C went to it as well, and it tidies up
        stop(process, ask=False)
        raise
    except BaseException:
        stop(process)
        raise
    if process.returncode:
        sys.exit(f"\ndemo: `rlway {words[0]}` failed with exit status {process.returncode}")
    return json.loads(output)


@contextlib.contextmanager
def server(models: Path) -> Iterator[str]:
    """A policy server on a free port; yields its URL."""
    process = subprocess.Popen([str(SERVE), "serve", str(models), "--port", "0", "--json"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()  # ends, empty, if the server does
        if not ready:
            sys.exit(f"\ndemo: `rlway serve` failed with exit status {process.wait()}")
        url = json.loads(ready)["url"]
        print(f"             {url}", flush=True)
        yield url
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], ask: bool = True) -> None:
    """Ends a process: asks it to, unless it has been asked, and kills it after `STOP_S`."""
    if ask:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def print_parity(rows: list[dict[str, Any]]) -> None:
    print(f"\n  {'file':<14} {'rows':>6}  {'max |Δ|':>8}  {'changed actions':>15}")
    for row in rows:
        print(f"  {row['file']:<14} {row['observations']:>6}  {row['max_difference']:>8.1e}  {row['argmax_flips']:>15}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
