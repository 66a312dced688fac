"""A quick check that an action is surely within the limits of a guard: one comparison of numbers after the other.

In:      the limits of all tensors of an action.
Out:     `QuickCheck`; None for an action of many elements, or limits of which it could not be sure.
Refuses: nothing.

It computes in float64, and is never wrong about an action that it lets pass: a sum of two float32 comes out alike when
it is rounded twice, and a product with a time is made smaller by more than float32 rounds it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from rlway_client.contract.guarding import TensorLimits

MOST_ELEMENTS = 32  # of an action; for more, numpy is faster
PRECISION = {"float32": 1 - 2.0**-22, "float64": 1.0}  # float16 rounds too much
LARGEST = sys.float_info.max
SMALLEST_RATE, SMALLEST_TIME_S = 1e-10, 1e-20  # float32 rounds the product of smaller ones by more
Numbers = Sequence[float]


class QuickCheck(NamedTuple):
    """Checks for the elements of all tensors, one after the other."""

    are_within: Callable[[Numbers], bool]  # their ranges
    follow: Callable[[Numbers, Numbers, float], bool]  # likewise, and the action before, so many seconds ago

    @classmethod
    def of(cls, tensors: Sequence[TensorLimits]) -> Self | None:
        if sum(tensor.spec.size for tensor in tensors) > MOST_ELEMENTS or not all(map(_is_sure, tensors)):
            return None
        ends = [pair for one in tensors for pair in zip(one.floor.tolist(), one.ceiling.tolist(), strict=True)]
        changes = [change for tensor in tensors for change in _changes(tensor)]
        names = {change: f"c{i}" for i, change in enumerate(dict.fromkeys(changes))}
        values, before = ("".join(f"{letter}{i}, " for i in range(len(ends))) for letter in "vb")
        within = " and ".join(f"{low!r} <= v{i} <= {high!r}" for i, (low, high) in enumerate(ends))
        near = " and ".join(
            f"b{i} - {names[change]} <= v{i} <= b{i} + {names[change]}" for i, change in enumerate(changes)
        )
        reach = "; ".join(f"{name} = {change}" for change, name in names.items())
        # Written out, since a loop takes three times as long. All that is written are the numbers themselves.
        source = f"""
def are_within(values):
    {values}= values
    return {within}

def follow(values, before, passed_s):
    {values}= values
    {before}= before
    t = passed_s if {SMALLEST_TIME_S!r} < passed_s <= {LARGEST!r} else 0.0
    {reach}
    return {within} and {near}
"""
        made: dict[str, Any] = {"inf": math.inf}
        exec(source, made)
        return cls(made["are_within"], made["follow"])


def _is_sure(limits: TensorLimits) -> bool:
    rate, dtype = limits.rate, limits.spec.dtype
    return rate is None or (dtype in PRECISION and bool(rate.min() >= SMALLEST_RATE))


def _changes(limits: TensorLimits) -> list[str]:
    """How far each element may be from the one before; `t` is the time since then."""
    steps: list[float] = limits.step.tolist()
    if limits.rate is None:
        return [repr(step) for step in steps]
    rates: list[float] = (limits.rate.astype(float) * PRECISION[limits.spec.dtype]).tolist()
    # Infinity times 0 is NaN, which is not below the step.
    return [f"{rate!r} * t if {rate!r} * t < {step!r} else {step!r}" for step, rate in zip(steps, rates, strict=True)]
