"""Guards and actions that hypothesis generates, and what a guard makes of them by the rules of docs/guard.md.

`guard_cases`: the specs of an action, a guard that fits them, and the steps of an episode, NaN and infinities included.
`judge`:       the action to use, and the rules that are violated, one element after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from rlway_client.contract.guard import ActionLimits, Guard, check_guard
from rlway_client.contract.specs import AnyArray, TensorSpec

Actions = dict[str, AnyArray]  # one action: its tensors by name, without a batch dimension
DTYPES = ("float32", "float32", "float64", "float16", "int64", "int32", "uint8", "bool")
STRICTNESS = ("clamp", "hold", "safe", "refuse")
ELAPSED_S = st.sampled_from([0.0, 0.01, 0.1, 1.0, 1e-30, 1e9, 1e300, -1.0, math.nan, math.inf]) | st.floats(0, 0.2)
NEAR = (-2.0, -1.0, -0.5, -0.1, -0.0, 0.0, 1e-45, 0.1, 0.25, 0.3, 0.5, 1.0, 1.1, 2.0)


class Step(NamedTuple):
    """One action of the policy."""

    actions: Actions
    elapsed_s: float  # since the one before
    first: bool  # whether an episode begins with it


class Case(NamedTuple):
    """A guard and what it is asked."""

    specs: list[TensorSpec]
    guard: Guard
    steps: list[Step]


class Judged(NamedTuple):
    """What a guard must say."""

    actions: Actions | None  # None: refused
    violated: dict[str, set[str]]


def judge(case: Case, step: Step, before: Actions | None, elapsed_s: float) -> Judged:
    """What becomes of one action; `before` is what the guard gave `elapsed_s` ago."""
    if not math.isfinite(elapsed_s) or elapsed_s < 0:
        elapsed_s = 0.0
    found: dict[str, set[str]] = {}
    clamped: Actions = {}
    with np.errstate(all="ignore"):
        for spec in case.specs:
            limits = case.guard.actions.get(spec.name, ActionLimits())
            values = step.actions[spec.name].ravel()
            clamped[spec.name] = step.actions[spec.name].copy()
            for i, value in enumerate(values):
                last = None if before is None else before[spec.name].ravel()[i]
                kept, rules = _judge_element(spec, limits, i, value, last, elapsed_s)
                clamped[spec.name].ravel()[i] = kept
                if rules:
                    found[spec.name] = found.get(spec.name, set()) | rules
    reactions = [getattr(case.guard, rule) for rules in found.values() for rule in rules]
    strictest = max(reactions, key=STRICTNESS.index, default="clamp")
    if strictest == "refuse":
        return Judged(None, found)
    if strictest == "clamp":
        return Judged(clamped, found)
    return Judged(before if strictest == "hold" and before is not None else safe_action(case), found)


def safe_action(case: Case) -> Actions:
    return {
        spec.name: np.array(
            [_element(case.guard.actions[spec.name].safe, i) for i in range(spec.size)], spec.dtype
        ).reshape(spec.shape)
        for spec in case.specs
    }


def _judge_element(
    spec: TensorSpec, limits: ActionLimits, i: int, value: Any, last: Any, elapsed_s: float
) -> tuple[Any, set[str]]:
    low, high, step, rate = (
        _element(one, i) for one in (limits.minimum, limits.maximum, limits.change_per_step, limits.change_per_second)
    )
    rules = set()
    if spec.numpy_dtype.kind == "f":
        number: Any = np.dtype(spec.dtype).type  # every intermediate is rounded to it
        reach = None if rate is None else number(rate) * number(elapsed_s)
        if not np.isfinite(value):
            rules.add("non_finite")
    else:
        number = int  # Python's, which never overflows
        product = None if rate is None else rate * elapsed_s
        reach = None if product is None or product >= 2.0**63 else math.floor(product)
    x = number(value)
    if low is not None and x < number(low):
        x = number(low)
        rules.add("out_of_range")
    elif high is not None and x > number(high):
        x = number(high)
        rules.add("out_of_range")
    changes = [change for change in (None if step is None else number(step), reach) if change is not None]
    if last is not None and changes:
        lowest, highest = number(last) - min(changes), number(last) + min(changes)
        if x < lowest:
            x = lowest
            rules.add("too_fast")
        elif x > highest:
            x = highest
            rules.add("too_fast")
    return x, rules


def _element(limit: Any, i: int) -> Any:
    return limit[i] if isinstance(limit, list) else limit


@st.composite
def guard_cases(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, most_steps: int = 6) -> Case:
    specs = _specs(draw, dtypes)
    refusals = ("hold", "safe", "refuse")
    guard = Guard(
        schema_version=1,
        actions={spec.name: _limits(draw, spec) for spec in specs},
        out_of_range=draw(st.sampled_from(("clamp", "clamp", "clamp", *refusals))),
        too_fast=draw(st.sampled_from(("clamp", "clamp", "clamp", *refusals))),
        non_finite=draw(st.sampled_from(refusals)),
    )
    check_guard(guard, specs)
    steps = [
        Step(
            {spec.name: _action(draw, spec) for spec in specs},
            draw(ELAPSED_S),
            i == 0 or draw(st.integers(0, 5)) == 0,
        )
        for i in range(draw(st.integers(1, most_steps)))
    ]
    return Case(specs, guard, steps)


def _specs(draw: st.DrawFn, dtypes: Sequence[str]) -> list[TensorSpec]:
    count = draw(st.sampled_from([1, 1, 2]))
    specs = []
    for i in range(count):
        dtype = draw(st.sampled_from(dtypes))
        shape = tuple(draw(st.sampled_from([(), (1,), (3,), (2, 2)])))
        bounds = (0, 9) if dtype == "uint8" else (-4, 4)
        low, high = draw(st.sampled_from([bounds, (None, None)])) if dtype != "bool" else (None, None)
        name = "action" if count == 1 else f"action_{i}"
        specs.append(TensorSpec(name, shape, dtype, low, high, () if count == 1 else (str(i),)))
    return specs


def _limits(draw: st.DrawFn, spec: TensorSpec) -> ActionLimits:
    def some(values: st.SearchStrategy[Any]) -> Any:
        each = st.lists(st.none() | values, min_size=spec.size, max_size=spec.size)
        return draw(st.none() | values | each)

    if spec.dtype == "bool":
        return ActionLimits(safe=draw(st.booleans()))
    whole = spec.is_discrete
    slow = 1e-7 if spec.dtype == "float16" else 1e-12
    return ActionLimits(
        minimum=some(st.sampled_from([0, 1, 3] if whole else [-2.1, -1.0, 0.1])),
        maximum=some(st.sampled_from([3, 4] if whole else [0.1, 0.7, 1.3])),
        change_per_step=some(st.sampled_from([1, 2, 3] if whole else [0.1, 0.3, 1.1])),
        change_per_second=some(st.sampled_from([0.5, 1.0, 30.0, 1e20] if whole else [0.7, 3.3, 40.0, slow])),
        safe=3 if whole else 0.1,
    )


def _action(draw: st.DrawFn, spec: TensorSpec) -> AnyArray:
    if spec.dtype == "bool":
        element: st.SearchStrategy[Any] = st.booleans()
    elif spec.is_discrete:
        limits = np.iinfo(spec.dtype)
        ends = [int(max(limits.min, -(2**31))), int(min(limits.max, 2**31 - 1))]
        element = st.integers(0, 6) | st.sampled_from(ends)
    else:
        width: Any = int(spec.dtype.removeprefix("float"))
        odd = st.sampled_from([math.nan, math.inf, -math.inf])
        plain = st.sampled_from(NEAR).map(lambda value: float(np.dtype(spec.dtype).type(value)))
        element = plain | plain | st.floats(-3, 3, width=width) | (odd if draw(st.integers(0, 2)) == 0 else plain)
    listed = draw(st.lists(element, min_size=spec.size, max_size=spec.size))
    return np.array(listed, spec.dtype).reshape(spec.shape)
