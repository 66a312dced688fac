"""Copies observations whose parts already have the tensors' types and shapes, by code that is written for one policy.

In:      an observation, as the environment gives it.
Out:     whether every part was copied into its array, and is finite; if not, the arrays hold anything.
Refuses: nothing; whether the observation fits after all is for `contract.nesting.read` to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.nesting import Tree, is_tuple
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import FloatArray, TensorSpec

SCALARS: dict[str, tuple[type, ...]] = {"f": (float,), "i": (int,), "u": (), "b": (bool,)}  # of Python, by numpy's kind
Copy = Callable[[Any], bool]


def quick_copy(tree: Tree, arrays: Arrays, numbers: Sequence[FloatArray]) -> Copy:
    """What copies an observation of this nesting into `arrays`; `numbers` are all its floats, by their types."""
    values: dict[str, Any] = {"ndarray": np.ndarray, "isfinite": math.isfinite}
    lines = "\n".join(f"        {line}" for line in _lines(tree, "observation", arrays, values))
    for i, array in enumerate(numbers):
        values[f"n{i}"] = array
    # A product finds what is not finite in one call; sums of squares that are too large are left to `read`.
    finite = " and ".join(f"isfinite(n{i}.dot(n{i}))" for i in range(len(numbers))) or "True"
    # Written out, since loops over the parts take twice as long. Keys and shapes are values, not parts of the source.
    source = f"""
def copy(observation):
    try:
{lines}
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return False
    return {finite}
"""
    exec(source, values)
    made: Copy = values["copy"]
    return made


def _lines(tree: Tree, part: str, arrays: Arrays, values: dict[str, Any]) -> list[str]:
    """The statements for a part of the observation, which has that name; `values` gets what they need."""
    if isinstance(tree, TensorSpec):
        return _leaf(tree, part, arrays, values)
    in_tuple = is_tuple(tree)
    lines = [
        f"if {part}.__class__ is not {'tuple' if in_tuple else 'dict'} or len({part}) != {len(tree)}: return False"
    ]
    for key, branch in tree.items():
        i = len(values)
        values[f"k{i}"] = int(key) if in_tuple else key
        lines += [f"p{i} = {part}[k{i}]", *_lines(branch, f"p{i}", arrays, values)]
    return lines


def _leaf(spec: TensorSpec, part: str, arrays: Arrays, values: dict[str, Any]) -> list[str]:
    i, array, dtype = len(values), arrays[spec.name], np.dtype(spec.dtype)
    if len(spec.shape) == 1:
        # The assignment itself raises ValueError for another type or length, and takes half the time of numpy's.
        values[f"m{i}"] = array.data
        return [f"if {part}.__class__ is not ndarray: return False", f"m{i}[:] = {part}"]
    values |= {f"a{i}": array, f"s{i}": spec.shape, f"d{i}": dtype}
    # The types that numpy has are the same object nearly always.
    differs = f"{part}.shape != s{i} or ({part}.dtype is not d{i} and {part}.dtype != d{i})"
    if spec.shape:
        check = [f"if {part}.__class__ is not ndarray or {differs}: return False"]
    else:
        values[f"t{i}"] = (dtype.type, *SCALARS[dtype.kind])
        check = [f"if {part}.__class__ is ndarray:", f"    if {differs}: return False"]
        check += [f"elif {part}.__class__ not in t{i}: return False"]
    return [*check, f"a{i}[...] = {part}"]
