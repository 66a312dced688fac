"""Reads what a run has written for TensorBoard."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import tensorflow as tf


def read_scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The steps and values of each tag, in the order in which they were written."""
    scalars = defaultdict(list)
    for file in sorted((run / "train").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                is_tensor = value.HasField("tensor")
                number = tf.make_ndarray(value.tensor).item() if is_tensor else value.simple_value
                scalars[value.tag].append((event.step, number))
    return dict(scalars)
