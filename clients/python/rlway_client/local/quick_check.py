"""A quick check that an action is surely within the limits of a guard: one comparison of numbers after the other.

In:      the limits of all tensors of an action; the outputs of one step.
Out:     the same outputs, if the action is surely sound. Any other, and all of many elements or with limits that
         float64 cannot judge, are left to `Episode.decide`.
Refuses: nothing by itself.

It computes in float64, and is never wrong about an action that it lets pass. An action that is nearer to the one before
than the change is less than their exact sum, so it is at most the sum that the guard computes, however that is rounded.
For one that is just as far, the sums are compared: of two float32, one comes out alike when it is rounded twice. A
product with a time is made smaller by more than float32 rounds it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from rlway_client.contract.guard import Violations
from rlway_client.contract.guarding import TensorLimits
from rlway_client.contract.specs import AnyArray, TensorSpec

MOST_ELEMENTS = 32  # of an action; for more, numpy is faster
PRECISION = {"float32": 1 - 2.0**-22, "float64": 1.0}  # float16 rounds too much
LARGEST = sys.float_info.max
SMALLEST_RATE, SMALLEST_TIME_S = 1e-10, 1e-20  # float32 rounds the product of smaller ones by more
Outputs = Sequence[AnyArray]  # of a policy, [1, …] each, the action's tensors first
Numbers = list[float]  # the elements of all tensors of an action, one after the other


class Episode(Protocol):
    """What the check reads and writes."""

    given: Numbers  # the elements of the action before; none where an episode begins
    given_s: float  # when it was given
    violated: Violations  # by the last action

    def decide(self, outputs: Outputs, now_s: float) -> Outputs:
        """The outputs with the action to use, where the check is not sure."""


Check = Callable[[Any, Outputs], Outputs]  # of an `Episode`


def quick_check(tensors: Sequence[TensorLimits], clock: Callable[[], float]) -> Check:
    """The check for these limits. It reads the clock where a limit counts seconds."""
    reads_clock = any(tensor.rate is not None for tensor in tensors)
    if sum(tensor.spec.size for tensor in tensors) > MOST_ELEMENTS or not all(map(_is_sure, tensors)):
        return lambda episode, outputs: episode.decide(outputs, clock() if reads_clock else 0.0)
    listed = " + ".join(f"outputs[{i}].{_listed(tensor.spec)}" for i, tensor in enumerate(tensors))
    ends = [pair for one in tensors for pair in zip(one.floor.tolist(), one.ceiling.tolist(), strict=True)]
    values, before = ("".join(f"{letter}{i}, " for i in range(len(ends))) for letter in "vb")
    within = " and ".join(f"{low!r} <= v{i} and v{i} <= {high!r}" for i, (low, high) in enumerate(ends))
    changes = [change for tensor in tensors for change in _changes(tensor)]
    names = {change: f"c{i}" for i, change in enumerate(dict.fromkeys(changes)) if change}
    limited = [(i, names[change]) for i, change in enumerate(changes) if change]
    nearer = "".join(f" and m{name} < v{i} - b{i} < {name}" for i, name in limited)
    as_far = "".join(f" and b{i} - {name} <= v{i} <= b{i} + {name}" for i, name in limited)
    reach = "; ".join(f"{name} = {change}; m{name} = -{name}" for change, name in names.items())
    passed = f" and {SMALLEST_TIME_S!r} < t <= {LARGEST!r}" if reads_clock else ""
    begins = f"if not ({within}): return episode.decide(outputs, now_s)"
    # Written out, since a loop takes three times as long. All that is written are the numbers themselves.
    follows = f"""
    before = episode.given
    if before:
        {before}= before
        t = now_s - episode.given_s
        {reach}
        if not ({within}{passed}{nearer}) and not ({within}{passed}{as_far}):
            return episode.decide(outputs, now_s)
    el{begins}
"""
    source = f"""
def check(episode, outputs):
    {values}= values = {listed}
    now_s = {"clock()" if reads_clock else "0.0"}
    {follows if limited else begins}
    episode.given = values
    episode.given_s = now_s
    if episode.violated:
        episode.violated = {{}}
    return outputs
"""
    made: dict[str, Any] = {"clock": clock}
    exec(source, made)
    check: Check = made["check"]
    return check


def _listed(spec: TensorSpec) -> str:
    """What lists the elements of an array [1, …]."""
    return {0: "tolist()", 1: "tolist()[0]"}.get(len(spec.shape), "ravel().tolist()")


def _is_sure(limits: TensorLimits) -> bool:
    rate, dtype = limits.rate, limits.spec.dtype
    return rate is None or (dtype in PRECISION and bool(rate.min() >= SMALLEST_RATE))


def _changes(limits: TensorLimits) -> list[str]:
    """How far each element may be from the one before, where `t` is the time since then; empty for any distance."""
    unlimited = math.inf if limits.is_real else np.iinfo(np.int64).max
    steps: list[float] = limits.step.tolist()
    rates: list[float] = [math.inf] * len(steps)
    if limits.rate is not None:
        rates = (limits.rate.astype(float) * PRECISION[limits.spec.dtype]).tolist()
    return [_change(None if step == unlimited else step, rate) for step, rate in zip(steps, rates, strict=True)]


def _change(step: float | None, rate: float) -> str:
    if rate == math.inf:
        return "" if step is None else repr(step)
    return f"{rate!r} * t" if step is None else f"r if (r := {rate!r} * t) < {step!r} else {step!r}"
