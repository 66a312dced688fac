"""Compares runs: their learning curves, by mean and spread over seeds.

In:      run folders, finished or not.
Out:     `Group`s of runs that differ only in their seeds, for a table and a picture.
Refuses: a folder without evaluations (RunInvalid).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rlway_client.contract.errors import RunInvalid
from rlway_client.contract.run import TrainingRun, read_run
from rlway_client.contract.specs import AnyArray
from rlway_train.config.settings import ALGORITHMS
from rlway_train.runs.checkpoint import Checkpoints

POINTS = 200  # where curves with evaluations at different steps are interpolated


class Curve(NamedTuple):
    """One run's evaluations."""

    folder: Path
    label: str  # what it shares with the other seeds of its group
    seed: int
    steps: AnyArray  # [E]
    returns: AnyArray  # [E], means
    run: TrainingRun | None  # None while it is unfinished

    @property
    def best(self) -> float:
        """The highest mean return after the first update, or before it if there is no other."""
        learned = self.returns[self.steps > 0]
        return float((learned if len(learned) else self.returns).max())


class Band(NamedTuple):
    """Mean and spread over seeds, up to the end of the shortest run."""

    steps: AnyArray  # [POINTS]
    mean: AnyArray
    low: AnyArray  # the mean minus one standard deviation
    high: AnyArray


class Group(NamedTuple):
    """Runs of one algorithm, environment and settings."""

    label: str
    curves: list[Curve]

    @property
    def finals(self) -> list[float]:
        """The final returns of the runs that have ended."""
        return [curve.run.final_return for curve in self.curves if curve.run is not None]

    def band(self) -> Band:
        start = max(float(curve.steps[0]) for curve in self.curves)
        end = min(float(curve.steps[-1]) for curve in self.curves)
        steps = np.linspace(start, max(start, end), POINTS)
        values = np.array([np.interp(steps, curve.steps, curve.returns) for curve in self.curves])
        mean, spread = values.mean(axis=0), values.std(axis=0)
        return Band(steps, mean, mean - spread, mean + spread)


def read_groups(folders: Sequence[Path]) -> list[Group]:
    """The runs in groups. A group's label has the settings in which the groups differ."""
    described = [(folder, *_describe(folder)) for folder in folders]
    labels = _labels([facts for _, facts, _, _ in described])
    curves = [
        Curve(folder, label, seed, *_read_evaluations(folder), run)
        for (folder, _, seed, run), label in zip(described, labels, strict=True)
    ]
    return [Group(label, [c for c in curves if c.label == label]) for label in dict.fromkeys(labels)]


def _describe(folder: Path) -> tuple[dict[str, Any], int, TrainingRun | None]:
    """The run's settings without its seed, the seed, and the run if it is finished."""
    if (folder / "run.json").is_file():
        run = read_run(folder)
        return _facts(run.algorithm, run.env, run.hyperparameters), run.seed, run
    saved = Checkpoints(folder).read()
    if saved is None:
        raise RunInvalid(f"{folder}: has neither run.json nor a checkpoint, so there is nothing to compare yet.")
    return _facts(saved.algorithm, saved.env, saved.settings), saved.seed, None


def _facts(algorithm: str, env: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The run's settings. A setting that did not exist when it was trained has its default."""
    defaults = msgspec.to_builtins(ALGORITHMS[algorithm]()) if algorithm in ALGORITHMS else {}
    return {"algorithm": algorithm, "env": env, **defaults, **settings}


def _labels(facts: list[dict[str, Any]]) -> list[str]:
    """Algorithm and environment, and the settings in which the runs differ."""
    names = [
        name
        for name in dict.fromkeys(name for one in facts for name in one)
        if name not in ("algorithm", "env") and len({msgspec.json.encode(one.get(name)) for one in facts}) > 1
    ]
    return [
        " ".join([f"{one['algorithm'].upper()} {one['env']}", *(f"{name}={_value(one.get(name))}" for name in names)])
        for one in facts
    ]


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _read_evaluations(folder: Path) -> tuple[AnyArray, AnyArray]:
    path = folder / "evaluations.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(float(row["step"]), float(row["mean_return"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunInvalid(f"{path}: cannot be read as evaluations: {error}.") from error
    if not rows:
        raise RunInvalid(f"{path}: holds no evaluation yet.")
    steps, returns = np.array(rows).T
    return steps, returns
