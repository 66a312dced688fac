"""The guard of a policy in this process: it remembers the action that it gave last, and when.

In:      the outputs of one step, [1, …] by name.
Out:     the actions that the guard lets through, and which rules they violated.
Refuses: ActionRefused, as the guard says; the step may then be repeated.

Most actions violate nothing. For them a loop over Python's numbers takes a tenth of the time of `ActionGuard`, which
decides in every other case: the loop says only that an action is surely within its limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rlway_client.contract.guard import Guard, Violations
from rlway_client.contract.guarding import ActionGuard, Previous, TensorLimits
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec

MOST_ELEMENTS = 32  # of an action; for more, numpy is faster than a loop
# The loop computes in float64. A sum of two float32 comes out alike when it is rounded twice. A product with a time is
# made smaller by more than float32 rounds it.
PRECISION = {"float32": 1 - 2.0**-22, "float64": 1.0}
SMALLEST_RATE, SMALLEST_TIME_S = 1e-10, 1e-20  # float32 rounds the product of smaller ones by more


class EdgeGuard:
    """The guard of one episode at a time."""

    def __init__(self, guard: Guard, actions: Sequence[TensorSpec], clock: Callable[[], float]) -> None:
        """`clock` tells the seconds that `change_per_second` counts."""
        self.violated: Violations = {}  # by the last action
        self._guard = ActionGuard(guard, actions)
        self._clock = clock
        small = sum(spec.size for spec in actions) <= MOST_ELEMENTS
        loops = small and all(map(NumberLimits.can_hold, self._guard.tensors))
        self._limits = [NumberLimits(tensor) for tensor in self._guard.tensors] if loops else []
        self._given: dict[str, list[float]] | None = None  # the action before, flat, by tensor
        self._given_s = 0.0

    def reset(self) -> None:
        """The next action begins an episode."""
        self._given = None

    @property
    def limits_changes(self) -> bool:
        """Whether a limit depends on the action before."""
        return self._guard.limits_changes

    def executed(self, action: dict[str, list[float]]) -> None:
        """The action before the next one, flat, by tensor, where it is not what `apply` gave last."""
        self._given, self._given_s = action, self._clock()

    def apply(self, outputs: Arrays) -> Arrays:
        """The outputs with the actions to use. Raises ActionRefused."""
        now_s = self._clock() if self._guard.limits_changes else 0.0
        given = {}
        sound = bool(self._limits)
        for limits in self._limits:
            values = given[limits.name] = outputs[limits.name].ravel().tolist()
            before = None if self._given is None else self._given[limits.name]
            if not limits.hold(values, before, now_s - self._given_s):
                sound = False
                break
        if sound:
            self.violated = {}
            self._given, self._given_s = given, now_s
            return outputs
        return self._decide(outputs, now_s)

    def _decide(self, outputs: Arrays, now_s: float) -> Arrays:
        specs = [limits.spec for limits in self._guard.tensors]
        previous = None
        if self._given is not None:
            given = {spec.name: np.array(self._given[spec.name], spec.dtype).reshape(1, *spec.shape) for spec in specs}
            previous = Previous(given, np.ones(1, np.bool_), np.array([now_s - self._given_s]))
        guarded = self._guard.apply(outputs, previous)
        self.violated = {} if guarded is None else guarded.rules(0, 1)
        if guarded is not None:
            refusal = guarded.refusal(0, 1)
            if refusal is not None:
                raise refusal
            outputs = outputs | guarded.actions
        self._given, self._given_s = {spec.name: outputs[spec.name].ravel().tolist() for spec in specs}, now_s
        return outputs


class NumberLimits:
    """The limits of one tensor as Python's numbers."""

    def __init__(self, limits: TensorLimits) -> None:
        self.name = limits.spec.name
        self._ends = list(zip(limits.floor.tolist(), limits.ceiling.tolist(), strict=True))
        self._limits_changes = limits.limits_changes
        self._steps: list[float] = limits.step.tolist()
        self._rates: list[float] = [] if limits.rate is None else limits.rate.tolist()
        self._precision = PRECISION.get(limits.spec.dtype, 1.0)

    @staticmethod
    def can_hold(limits: TensorLimits) -> bool:
        """Whether Python's numbers can tell."""
        rate, dtype = limits.rate, limits.spec.dtype
        return rate is None or (dtype in PRECISION and bool(rate.min() >= SMALLEST_RATE))

    def hold(self, values: list[float], before: list[float] | None, elapsed_s: float) -> bool:
        """Whether the values are surely within their limits."""
        for value, (low, high) in zip(values, self._ends, strict=True):
            if not low <= value <= high:
                return False
        if before is None or not self._limits_changes:
            return True
        changes = self._changes(elapsed_s) if self._rates else self._steps
        for value, last, change in zip(values, before, changes, strict=True):
            if not last - change <= value <= last + change:
                return False
        return True

    def _changes(self, elapsed_s: float) -> list[float]:
        reach = elapsed_s * self._precision if SMALLEST_TIME_S < elapsed_s < math.inf else 0.0
        # Infinity times 0 is NaN, and then `min` takes its first argument.
        return [min(step, rate * reach) for step, rate in zip(self._steps, self._rates, strict=True)]
