"""What each part of `cartpole` is worth: the preset with one change at a time, over many seeds.

In:      PYTHONPATH=. .venv-train/bin/python benchmarks/ablation.py --seeds 20
Out:     a table with one row per change, and JSON.

Each training takes 20,000 steps of the preset's 60,000 and does not stop early. The learning rate falls as in the
preset, so it has not reached its end by then. The columns are those of benchmarks/seeds.py. `at the end` counts the
trainings whose last three evaluations are at the goal on average.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processor import processor
from benchmarks.seeds import Training, summary, trained

PRESET, STEPS, GOAL, LAST = "cartpole", 20_000, 475.0, 3
LENGTH = f"--steps {STEPS}"
CHANGES = {
    "the preset": LENGTH,
    "targets are not clipped": f"{LENGTH} --no-clip-targets",
    "γ = 0.99": f"{LENGTH} --gamma 0.99",
    "γ = 0.99, targets are not clipped": f"{LENGTH} --gamma 0.99 --no-clip-targets",
    "one reward per target": f"{LENGTH} --n-step 1",
    "five rewards per target": f"{LENGTH} --n-step 5",
    "observations are not normalised": f"{LENGTH} --no-normalize",
    "Huber loss": f"{LENGTH} --loss huber",
    "two updates per step": f"{LENGTH} --block-iterations 128",
    "the last weights, no average": f"{LENGTH} --average-window 0",
    "constant learning rate": f"{LENGTH} --learning-rate-end 0.001",
    "soft target updates, τ = 0.005": f"{LENGTH} --target-period 1 --target-tau 0.005",
    "layers of 128 and 128": f"{LENGTH} --hidden 128,128",
    "batches of 128": f"{LENGTH} --batch-size 128",
    "plain DQN in place of double DQN": f"{LENGTH} --no-double",
    "replay of 10,000": f"{LENGTH} --replay-capacity 10000",
}


def row(change: str, trainings: Sequence[Training]) -> dict[str, Any]:
    """The table's row for one change."""
    ends = [float(np.mean(training.returns[-LAST:])) for training in trainings]
    return {"change": change, "at_end": sum(end >= GOAL for end in ends)} | summary(trainings, GOAL)


def as_line(found: dict[str, Any]) -> str:
    middle, latest = found["steps"][1], found["latest"]
    steps = ", ".join("never" if np.isinf(value) else f"{value:,.0f}" for value in (middle, latest))
    lowest = f"{found['lowest'][1]:.0f}, {found['lowest_of_all']:.0f}" if found["lowest"] else "–"
    n = found["trainings"]
    return (
        f"| {found['change']} | {found['reached']} of {n} | {steps} | {lowest} | {found['at_end']} of {n} "
        f"| {found['area']:.0f} | {found['wall_s'][1]:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--changes", type=int, default=len(CHANGES), help="only so many of them, from the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time, each on one thread")
    parser.add_argument("--out", type=Path, help="keep the runs here; complete runs are not repeated")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()

    rows, curves = [], {}
    print(f"| change | reached {GOAL:g} | steps: median, latest | lowest later: median, of all "
          "| at the end | area | wall, s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        out = options.out or Path(scratch)
        jobs = {
            change: [
                pool.submit(trained, PRESET, seed, "native", out / folder(words) / str(seed), False, words.split())
                for seed in range(options.seeds)
            ]
            for change, words in list(CHANGES.items())[: options.changes]
        }
        try:
            for change, trainings in jobs.items():
                done = [training.result() for training in trainings]
                curves[change] = [asdict(training) for training in done]
                rows.append(row(change, done))
                print(as_line(rows[-1]), flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if options.json:
        record = {"preset": PRESET, "steps": STEPS, **processor(), "rows": rows, "trainings": curves}
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def folder(words: str) -> str:
    """A folder's name for the runs of these words."""
    return words.replace("--", "").replace(" ", "_")


if __name__ == "__main__":
    main()
