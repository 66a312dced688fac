"""What is measured of each file by itself, once it is known to act as the SavedModel does.

In:      the files of a bundle, ready to be run; the observations that they were compared over.
Out:     `Measured`: the time of one action, what a batch changes, and, where episodes are asked for, the mean return.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlway_client.contract.manifest import Manifest, Measured
from rlway_client.contract.parity import Arrays, rows_of, run_in_batches, spread
from rlway_export.checks.latency import action_us, saved_model_us
from rlway_export.play.rollout import ActFunction, Rollout

ROWS = 448  # to compare batches over: a multiple of 1, 7 and 64


class Runnable(NamedTuple):
    """A file that can be run; for the SavedModel, its graph file."""

    path: Path
    run: ActFunction
    batch_sizes: tuple[int, ...] = (1, 7, 64)
    timed: Callable[[Arrays], Callable[[], object]] | None = (
        None  # makes the call to time, where that is not the file's
    )


def measure(
    file: Runnable, manifest: Manifest, inputs: Arrays, rollout: Rollout | None
) -> tuple[Measured, list[float]]:
    """The measurements, and the return of every episode."""
    rows = {name: spread(array, ROWS) for name, array in inputs.items()}
    difference, changed = _batch_changes(file, manifest, rows) if len(file.batch_sizes) > 1 else (None, None)
    returns = rollout.returns(file.run) if rollout else []
    row = {name: array[:1] for name, array in rows.items()}
    took_us = saved_model_us(file.timed(row)) if file.timed else action_us(file.path, manifest, row)
    measured = Measured(
        file=file.path.name,
        action_us=None if took_us is None else round(took_us, 3),
        batch_sizes=list(file.batch_sizes),
        batch_difference=difference,
        batch_changed_actions=changed,
        episodes=len(returns),
        mean_return=float(np.mean(returns)) if returns else None,
    )
    return measured, returns


def _batch_changes(file: Runnable, manifest: Manifest, rows: Arrays) -> tuple[float, int]:
    """The largest change that a batch makes to an output, and for how many observations it changes the action."""
    alone, *together = (run_in_batches(file.run, rows, batch) for batch in file.batch_sizes)
    difference, changed = np.float64(0.0), np.zeros(rows_of(alone), np.bool_)
    for found in together:
        for action in manifest.actions:
            changed |= (found[action.name] != alone[action.name]).reshape(len(changed), -1).any(axis=1)
        for name, values in alone.items():
            if values.dtype.kind == "f":
                # maximum() keeps NaN, which counts as a difference.
                difference = np.maximum(difference, np.abs(values.astype(np.float64) - found[name]).max())
    return float(difference), int(changed.sum())
