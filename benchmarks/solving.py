"""Wall time of the whole command `rlway train dqn` until CartPole-v0 counts as solved, seed by seed.

In:      nothing but this machine: .venv-train/bin/python benchmarks/solving.py
Out:     seconds per seed and their median, and the time that the same command needs without learning.

The preset `cartpole-dqn` ends once an evaluation over 50 episodes reaches 195 of 200. The time is that of the process:
TensorFlow's start, the saved policies, the evaluations, the films and the plots are all in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

SOLVED = 195.0


def run(*words: str) -> tuple[float, dict[str, Any]]:
    """Seconds that the command took, and its run.json."""
    rlway = str(Path(sys.executable).parent / "rlway")
    with tempfile.TemporaryDirectory() as scratch:
        command = [rlway, "train", "dqn", "--preset", "cartpole-dqn", "--run", f"{scratch}/run", "--json", *words]
        start_s = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - start_s, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    idle_s, _ = run("--steps", "101", "--eval-episodes", "1", "--confirm-episodes", "0", "--final-episodes", "1")
    rows = []
    for seed in range(options.seeds):
        took_s, done = run("--seed", str(seed), "--stop-return", str(SOLVED))
        rows.append({"seed": seed, "wall_s": round(took_s, 1), "steps": done["steps"], "return": done["final_return"]})
    middle_s = median(row["wall_s"] for row in rows)
    if options.json:
        print(json.dumps({"median_wall_s": middle_s, "idle_wall_s": round(idle_s, 1), "seeds": rows}))
        return
    print(f"| cartpole-dqn to {SOLVED:g} of 200, {os.cpu_count()} CPUs, seed | wall, s | steps | final return |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row['seed']} | {row['wall_s']} | {row['steps']:,} | {row['return']:.1f} |")
    print(f"| **median** | **{middle_s}** | | |")
    print(f"| learning nothing: start-up, films, plots | {idle_s:.1f} | 101 | |")


if __name__ == "__main__":
    main()
