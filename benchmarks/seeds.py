"""Trains a preset over many seeds: does it hold, on every seed and on more than one processor?

In:      a preset: PYTHONPATH=. .venv-train/bin/python benchmarks/seeds.py cartpole --seeds 20
Out:     a table with one row per instruction set, JSON, one picture of all curves, and the run folders.

Each training goes on to its full length. Its early stop is left out, so that the curve shows what comes after the
first evaluation at the goal. `--stop` keeps the early stop, as a user's training has it.

    reached     an evaluation at the goal, confirmed by further episodes (--confirm-episodes of the training)
    steps       environment steps up to the first one that is confirmed
    lowest      the lowest evaluation after that
    share low   the share of later evaluations below 60 % of the way from random actions to the goal
    area        the mean return over the training: the area under the curve, divided by its length
    fresh       the return of the shipped checkpoint over episodes that had no part in choosing it

Rounding decides which way a training goes. `--isa other` changes it as another processor would: no oneDNN kernels,
numpy's matrix products without fused multiply-add, and XLA's through Eigen on one thread, which sums in another order.
The XLA of TensorFlow 2.15 cannot be limited to an older instruction set.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.processor import processor
from rlway_train.config.presets import PRESETS

INSTRUCTION_SETS = {
    "native": {},
    "other": {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Sandybridge",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    },
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
NEVER = 1e9  # a return that no training reaches
LOW = 0.6


@dataclass(frozen=True)
class Training:
    """What one training did."""

    seed: int
    isa: str
    steps: list[int]  # of the evaluations
    returns: list[float]
    confirmed: list[bool]
    random_return: float
    final_return: float
    wall_s: float

    def first_at(self, goal: float) -> int | None:
        """The index of the first confirmed evaluation at the goal."""
        reached = (i for i, value in enumerate(self.returns) if value >= goal and self.confirmed[i])
        return next(reached, None)

    def later(self, goal: float) -> list[float]:
        """The evaluations after the first confirmed one at the goal."""
        first = self.first_at(goal)
        return [] if first is None else self.returns[first + 1 :]


def trained(preset: str, seed: int, isa: str, folder: Path, stop: bool, words: Sequence[str]) -> Training:
    """Trains once, or reads the run if it is there already."""
    settings, asked = PRESETS[preset].settings, folder / "words.json"
    if not stop and settings.stop_return is not None:
        words = ["--stop-return", str(NEVER), *words]
    if (folder / "run.json").exists() and not (asked.exists() and json.loads(asked.read_text()) == list(words)):
        raise RuntimeError(f"{folder}: is a run of other words; name another --out.")
    if not (folder / "run.json").exists():
        command = [
            str(Path(sys.executable).parent / "rlway"), "train", settings.algorithm, "--preset", preset,
            "--seed", str(seed), "--run", str(folder), "--no-films", "--op-threads", "1", "--resume", "--json",
        ]  # fmt: skip
        environment = os.environ | ONE_THREAD | INSTRUCTION_SETS[isa]
        done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"{preset}, seed {seed}: exit status {done.returncode}: {done.stderr[-1000:]}")
        asked.write_text(json.dumps(list(words)))
    run = json.loads((folder / "run.json").read_text())
    with (folder / "evaluations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["iteration"])]  # without the untrained policy
    few = run["hyperparameters"]["eval_episodes"] if run["hyperparameters"]["confirm_episodes"] else 0
    return Training(
        seed=seed,
        isa=isa,
        steps=[int(row["step"]) for row in rows],
        returns=[float(row["mean_return"]) for row in rows],
        confirmed=[int(row["episodes"]) > few for row in rows],
        random_return=run["random_return"],
        final_return=run["final_return"],
        wall_s=run["wall_s"],
    )


def summary(trainings: Sequence[Training], goal: float) -> dict[str, Any]:
    """The table's row for these trainings."""
    firsts = [(training, training.first_at(goal)) for training in trainings]
    steps = [training.steps[first] if first is not None else np.inf for training, first in firsts]
    later = [(training.later(goal), training) for training in trainings]
    lowest = [min(values) for values, _ in later if values]
    low = [
        float(np.mean(np.array(values) < training.random_return + LOW * (goal - training.random_return)))
        for values, training in later
        if values
    ]
    fresh = [training.final_return for training in trainings]
    return {
        "goal": goal,
        "trainings": len(trainings),
        "reached": sum(first is not None for _, first in firsts),
        "steps": quartiles(steps),
        "latest": max(steps),
        "lowest": quartiles(lowest),
        "lowest_of_all": min(lowest, default=None),
        "share_low": float(np.mean(low)) if low else None,
        "area": median(float(np.mean(training.returns)) for training in trainings),
        "fresh": quartiles(fresh),
        "fresh_lowest": min(fresh),
        "wall_s": quartiles([training.wall_s for training in trainings]),
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile; empty without values."""
    if not values:
        return []
    # An infinite number of steps stays infinite: no mean of two values is taken.
    return [float(np.quantile(values, q, method="nearest")) for q in (0.25, 0.5, 0.75)]


def plot(path: Path, title: str, trainings: Sequence[Training], goal: float) -> None:
    """One curve per training."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    isas = list(dict.fromkeys(training.isa for training in trainings))
    figure, rows = plt.subplots(
        len(isas), 1, figsize=(8, 3.4 * len(isas) + 0.6), dpi=100, layout="constrained", squeeze=False, sharex=True
    )
    for isa, axes in zip(isas, rows[:, 0], strict=True):
        own = [training for training in trainings if training.isa == isa]
        for training in own:
            axes.plot(training.steps, training.returns, color="#2563eb", linewidth=0.8, alpha=0.3)
        axes.plot(*_median_curve(own), color="#ea580c", linewidth=2, label=f"median of {len(own)} seeds")
        axes.axhline(goal, color="#6b7280", linewidth=1.2, linestyle="--", label=f"goal: {goal:g}")
        axes.set_ylabel("return per episode")
        axes.set_title(f"{title}, {isa} rounding", loc="left", fontsize=11, fontweight="bold")
        axes.grid(axis="y", color="#e5e7eb")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    rows[-1, 0].set_xlabel("environment steps")
    rows[-1, 0].set_xlim(left=0)
    rows[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.savefig(path)
    plt.close(figure)


def _median_curve(trainings: Sequence[Training]) -> tuple[list[int], list[float]]:
    """The median over the trainings, at the evaluations that all of them have."""
    shortest = min(len(training.steps) for training in trainings)
    returns = np.median([training.returns[:shortest] for training in trainings], axis=0)
    return trainings[0].steps[:shortest], returns.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Further words go to `rlway train`, such as --steps 60000 or --gamma 0.99.",
    )
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--goal", type=float, nargs="+", help="returns; the preset's --stop-return if not given")
    parser.add_argument("--isa", choices=INSTRUCTION_SETS, nargs="+", default=["native"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time, each on one thread")
    parser.add_argument("--stop", action="store_true", help="keep the preset's early stop")
    parser.add_argument("--out", type=Path, help="keep the runs here; complete runs of the same words are not repeated")
    parser.add_argument("--png", type=Path, help="draw all curves")
    parser.add_argument("--json", type=Path, help="write the results here")
    options, words = parser.parse_known_args()
    goals = options.goal or [PRESETS[options.preset].settings.stop_return]
    if None in goals:
        parser.error(f"{options.preset} has no --stop-return; name a --goal.")

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        out = options.out or Path(scratch)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        jobs = [
            pool.submit(trained, options.preset, seed, isa, out / isa / str(seed), options.stop, words)
            for isa in options.isa
            for seed in seeds
        ]
        try:
            trainings = [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    machine = processor()
    rows = [
        {"isa": isa, **summary([training for training in trainings if training.isa == isa], goal)}
        for isa in options.isa
        for goal in goals
    ]
    if options.png:
        plot(options.png, options.preset, trainings, goals[0])
    if options.json:
        record = {"preset": options.preset, "words": words, **machine}
        record |= {"rows": rows, "trainings": [asdict(training) for training in trainings]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    command = ["rlway train", PRESETS[options.preset].algorithm, "--preset", options.preset, *words]
    print(f"`{' '.join(command)}` on {machine['cpus']} cores of an {machine['processor']}\n")
    print("| rounding | goal | reached | steps: median (quartiles), latest | lowest later: median, of all "
          "| share low | area | fresh: median, lowest | wall, s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(as_row(row))


def as_row(row: dict[str, Any]) -> str:
    """One row of the table."""
    low, middle, high = (f"{value:,.0f}" for value in row["steps"])
    later = f"{row['lowest'][1]:.1f}, {row['lowest_of_all']:.1f}" if row["lowest"] else "–"
    share = "–" if row["share_low"] is None else f"{row['share_low']:.1%}"
    return (
        f"| {row['isa']} | {row['goal']:g} | {row['reached']} of {row['trainings']} "
        f"| {middle} ({low}–{high}), {row['latest']:,.0f} | {later} | {share} | {row['area']:.1f} "
        f"| {row['fresh'][1]:.1f}, {row['fresh_lowest']:.1f} | {row['wall_s'][1]:.0f} |"
    )


if __name__ == "__main__":
    main()
