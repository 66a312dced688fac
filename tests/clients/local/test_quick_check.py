"""A quick check never takes an action that the guard would change, and takes the usual ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.guard import ActionLimits, Guard, check_guard
from rlway_client.contract.guarding import ActionGuard, Previous
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.edge_guard import EdgeGuard
from tests.guards import ELAPSED_S

OFTEN = settings(max_examples=300, derandomize=True, deadline=None, database=None)
SPEC = TensorSpec("action", (2,), "float32", -2, 2)
REAL_LIMITS = {
    "minimum": (-1.0, 0.1),
    "maximum": (0.7, 1.0),
    "change_per_step": (0.1, 1.0),
    "change_per_second": (3.3,),
}
WHOLE_LIMITS = {"minimum": (0, 1), "maximum": (3, 4), "change_per_step": (1, 2)}
TINY = (0.0, -0.0, 1e-45, -1e-45, 1e-20, -1e-20, 1e-300)


class Pair(NamedTuple):
    """An action and the one before it, one array for each tensor."""

    guard: Guard
    specs: list[TensorSpec]
    before: list[AnyArray]
    after: list[AnyArray]
    elapsed_s: float


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Actions that are often as far from the one before as they may be, and a rounding more or less."""
    specs, limits, before, after = [], {}, [], []
    elapsed_s = draw(ELAPSED_S)
    for i in range(draw(st.sampled_from([1, 1, 2]))):
        shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
        spec = TensorSpec(
            f"action_{i}", shape, draw(st.sampled_from(["float32", "float32", "float64", "float16", "int32"]))
        )
        some = WHOLE_LIMITS if spec.is_discrete else REAL_LIMITS
        given: dict[str, Any] = {name: draw(st.none() | st.sampled_from(values)) for name, values in some.items()}
        specs.append(spec)
        limits[spec.name] = ActionLimits(**given, safe=2 if spec.is_discrete else 0.5)
        last = [
            draw(st.sampled_from([0, 1, 2, 3] if spec.is_discrete else [-1.0, -0.3, 0.1, 0.25, 0.7, 1.0]))
            for _ in range(spec.size)
        ]
        before.append(np.array(last, spec.dtype).reshape(1, *shape))
        moved = [draw(_after(spec, value, limits[spec.name], elapsed_s)) for value in before[-1].ravel()]
        after.append(np.array(moved, spec.dtype).reshape(1, *shape))
    guard = Guard(schema_version=1, actions=limits)
    check_guard(guard, specs)
    return Pair(guard, specs, before, after, elapsed_s)


def _after(spec: TensorSpec, before: Any, limits: ActionLimits, elapsed_s: float) -> st.SearchStrategy[Any]:
    rate: Any = limits.change_per_second
    changes: list[Any] = [0, limits.change_per_step or 0]
    if rate is not None and math.isfinite(elapsed_s):
        with np.errstate(all="ignore"):
            changes.append(np.dtype(spec.dtype).type(rate) * np.dtype(spec.dtype).type(elapsed_s))
    ends = [limits.minimum, limits.maximum]
    with np.errstate(all="ignore"):
        near = [before + change for change in changes] + [before - change for change in changes]
        near += [end for end in ends if end is not None]
    if spec.is_discrete:
        return st.sampled_from([int(value) + more for value in near for more in (-1, 0, 1)])
    number = np.dtype(spec.dtype).type
    with np.errstate(all="ignore"):
        around = [number(np.nextafter(number(value), number(to))) for value in near for to in (-np.inf, np.inf)]
        return st.sampled_from([*map(number, near), *around, *map(number, TINY), number(np.nan), number(np.inf)])


class Watched(EdgeGuard):
    """Tells which actions its check passes, and which it leaves to the guard itself."""

    now_s = 0.0

    def passes(self, before: Sequence[AnyArray], after: Sequence[AnyArray], elapsed_s: float) -> bool:
        """Whether the action passes that comes so long after the one before; none before: it begins an episode."""
        self.given, self.given_s, self.now_s = elements(before), 0.0, elapsed_s
        return self.apply(after) is after and self.given == elements(after)

    def decide(self, outputs: Sequence[AnyArray], now_s: float) -> Sequence[AnyArray]:
        assert now_s in (0.0, self.now_s) or math.isnan(now_s)
        return outputs[:0]


def watched(guard: Guard, specs: Sequence[TensorSpec]) -> Watched:
    made: Watched = Watched(guard, specs, lambda: made.now_s)
    return made


def elements(tensors: Sequence[AnyArray]) -> list[Any]:
    return [value for array in tensors for value in array.ravel().tolist()]


@OFTEN
@given(pairs())
def test_an_action_that_passes_is_one_that_the_guard_leaves_as_it_is(pair: Pair) -> None:
    """At the beginning of an episode and within it."""
    guard, check = ActionGuard(pair.guard, pair.specs), watched(pair.guard, pair.specs)
    named = {spec.name: array for spec, array in zip(pair.specs, pair.after, strict=True)}
    before = {spec.name: array for spec, array in zip(pair.specs, pair.before, strict=True)}
    elapsed_s = 0.0 if math.isnan(pair.elapsed_s) else pair.elapsed_s
    previous = Previous(before, np.ones(1, np.bool_), np.array([elapsed_s]))
    assert not check.passes([], pair.after, 0.0) or guard.apply(named) is None
    assert not check.passes(pair.before, pair.after, pair.elapsed_s) or guard.apply(named, previous) is None


def follows(limits: ActionLimits, before: list[float], after: list[float], elapsed_s: float = 1.0) -> bool:
    check = watched(Guard(schema_version=1, actions={"action": limits}), [SPEC])
    return check.passes([np.array([before], np.float32)], [np.array([after], np.float32)], elapsed_s)


@OFTEN
@given(st.lists(st.floats(-0.6875, 0.6875, width=32), min_size=2, max_size=2), st.floats(0.01, 10))
def test_an_action_well_within_its_limits_passes(after: list[float], elapsed_s: float) -> None:
    """Of its range, its change per step and per second; so nearly no action needs the guard itself."""
    limits = ActionLimits(minimum=[-0.7, None], maximum=0.8, change_per_step=[0.75, 1.0], change_per_second=80.0)
    assert follows(limits, [0.0, 0.0], after, elapsed_s)


@pytest.mark.parametrize(
    ("before", "after", "passes"),
    [
        (0.0, 1.0, True),
        (-1.0, 0.0, True),
        (-1.0, 1e-20, False),  # the difference is 1 in float64
        (1.0, -1e-20, False),
        (0.25, 1.25, True),
        (0.25, 1.2500001, False),
    ],
)
def test_an_action_may_be_as_far_as_the_change_and_no_further(before: float, after: float, passes: bool) -> None:
    """The sum of the action before and the change decides, not the difference of the actions."""
    assert follows(ActionLimits(change_per_step=1.0, safe=0.0), [before, 0.0], [after, 0.0]) is passes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_action_passes_that_is_further_than_the_rounded_product_with_the_time(dtype: str) -> None:
    """The guard rounds the time, and the product, to the action's type; here to less than they are."""
    number, spec, rate = np.dtype(dtype).type, TensorSpec("action", (1,), dtype), 3.3
    guard = Guard(schema_version=1, actions={"action": ActionLimits(change_per_second=rate, safe=0.0)})
    check = watched(guard, [spec])
    generator = np.random.default_rng(0)
    times_s = np.concatenate([generator.uniform(0.001, 0.2, 20_000), 10.0 ** generator.uniform(-46, -18, 2_000)])
    further = np.nextafter(number(rate) * times_s.astype(dtype), number(np.inf))
    assert dtype == "float64" or (further < float(number(rate)) * times_s).any()
    for elapsed_s, value in zip(times_s.tolist(), further, strict=True):
        assert not check.passes([np.zeros((1, 1), dtype)], [value.reshape(1, 1)], elapsed_s)


@pytest.mark.parametrize("elapsed_s", [math.inf, math.nan, -math.inf, -1.0, 0.0])
def test_no_change_passes_after_a_time_that_is_none(elapsed_s: float) -> None:
    """As of a clock that was set back: the guard then allows no change."""
    limits = ActionLimits(change_per_step=1.0, change_per_second=3.3, safe=0.0)
    assert not follows(limits, [0.0, 0.0], [0.5, 0.0], elapsed_s)
    assert follows(limits, [0.0, 0.0], [0.5, 0.0], 0.5)
