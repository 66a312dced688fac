"""The guard of a policy in this process: it remembers the action that it gave last, and when.

In:      the outputs of one step, [1, …], the action's tensors first.
Out:     the outputs with the actions that the guard lets through, and which rules they violated.
Refuses: ActionRefused, as the guard says; the step may then be repeated.

Most actions violate nothing. A quick check of Python's numbers finds these in a small part of the time that the guard
itself takes, which decides all others: the check says only that an action is surely within its limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MethodType

import numpy as np

from rlway_client.contract.guard import UNLIMITED, Guard, Violations
from rlway_client.contract.guarding import ActionGuard, Previous
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.quick_check import quick_check


class EdgeGuard:
    """The guard of one episode at a time."""

    def __init__(self, guard: Guard, actions: Sequence[TensorSpec], clock: Callable[[], float]) -> None:
        """`clock` tells the seconds that `change_per_second` counts."""
        self.violated: Violations = {}  # by the last action
        self._guard = ActionGuard(guard, actions)
        self._specs = list(actions)
        self._clock = clock
        self.given: list[float] = []  # the elements of the action before; none where an episode begins
        self.given_s = 0.0
        # As `decide`, with the time that the clock tells; most actions are found sound before that.
        self.apply: Callable[[Sequence[AnyArray]], Sequence[AnyArray]] = MethodType(
            quick_check(self._guard.tensors, clock), self
        )

    def reset(self) -> None:
        """The next action begins an episode."""
        self.given = []

    @property
    def limits_changes(self) -> bool:
        """Whether a limit depends on the action before."""
        return self._guard.limits_changes

    def executed(self, action: Sequence[AnyArray]) -> None:
        """The action before the next one, [1, …] each, where it is not what `apply` gave last.

        It counts as its nearest within the limits of the range: the next one has to be within them, too.
        """
        within = [
            array if limits.spec.dtype in UNLIMITED else np.clip(array.reshape(-1), limits.floor, limits.ceiling)
            for limits, array in zip(self._guard.tensors, action, strict=True)
        ]
        self.given, self.given_s = _elements(within), self._clock()

    def decide(self, outputs: Sequence[AnyArray], now_s: float) -> Sequence[AnyArray]:
        """The outputs with the action to use, as the guard's rules say. Raises ActionRefused."""
        actions = {spec.name: array for spec, array in zip(self._specs, outputs, strict=False)}
        guarded = self._guard.apply(actions, self._previous(now_s) if self.given else None)
        self.violated = {} if guarded is None else guarded.rules(0, 1)
        if guarded is not None:
            refusal = guarded.refusal(0, 1)
            if refusal is not None:
                raise refusal
            outputs = [*(guarded.actions[spec.name] for spec in self._specs), *outputs[len(self._specs) :]]
        self.given, self.given_s = _elements(outputs[: len(self._specs)]), now_s
        return outputs

    def _previous(self, now_s: float) -> Previous:
        actions: Arrays = {}
        start = 0
        for spec in self._specs:
            part = self.given[start : start + spec.size]
            actions[spec.name] = np.array(part, spec.dtype).reshape(1, *spec.shape)
            start += spec.size
        elapsed_s = now_s - self.given_s
        return Previous(actions, np.ones(1, np.bool_), np.array([0.0 if math.isnan(elapsed_s) else elapsed_s]))


def _elements(action: Sequence[AnyArray]) -> list[float]:
    """The elements of all tensors."""
    return [value for array in action for value in array.ravel().tolist()]
