"""Observations to send: sampled within the spec's bounds and tables.

In:      the specs of the observation's tensors.
Out:     columns by the tensors' names; rows, nested as the environment nests them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlway_client.contract.nesting import grow, nest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec


def sample_columns(specs: Sequence[TensorSpec], rows: int, seed: int) -> Arrays:  # -> [rows, *shape] by name
    """Sampled observations, a column for each tensor."""
    return {spec.name: sample_observations(spec, rows, seed + i) for i, spec in enumerate(specs)}


def nested_rows(columns: Arrays, specs: Sequence[TensorSpec]) -> list[Any]:
    """The rows as environments give them: arrays, or dicts of them nested by the specs' paths."""
    tree = grow(specs)
    rows = len(next(iter(columns.values())))
    return [nest({name: column[i] for name, column in columns.items()}, tree) for i in range(rows)]


def sample_observations(spec: TensorSpec, rows: int, seed: int) -> AnyArray:  # -> [rows, *shape]
    """Sampled observations within the spec's bounds and tables; unbounded elements are standard normal."""
    generator = np.random.default_rng(seed)
    (low, high), (least, most) = spec.bounds(), spec.lookup_bounds()
    low, high = np.maximum(low, least), np.minimum(high, most)
    if spec.numpy_dtype.kind in "ub":
        low = np.maximum(low, 0)
    if spec.numpy_dtype.kind == "b":
        high = np.minimum(high, 1)
    bounded = np.isfinite(low) & np.isfinite(high)
    width = 0 if spec.numpy_dtype.kind == "f" else 1  # whole numbers are cut: the highest gets as much as the others
    uniform = generator.uniform(np.where(bounded, low, 0), np.where(bounded, high + width, 1), (rows, *spec.shape))
    uniform = np.clip(np.floor(uniform) if width else uniform, low, high)
    values = np.where(bounded, uniform, np.clip(generator.standard_normal((rows, *spec.shape)), low, high))
    return values.astype(spec.numpy_dtype)
