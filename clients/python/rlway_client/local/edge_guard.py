"""The guard of a policy in this process: it remembers the action that it gave last, and when.

In:      the outputs of one step, [1, …] by name.
Out:     the actions that the guard lets through, and which rules they violated.
Refuses: ActionRefused, as the guard says; the step may then be repeated.

Most actions violate nothing. A quick check of Python's numbers finds these in a small part of the time that the guard
itself takes, which decides all others: the check says only that an action is surely within its limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rlway_client.contract.guard import UNLIMITED, Guard, Violations
from rlway_client.contract.guarding import ActionGuard, Previous
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.quick_check import QuickCheck


class EdgeGuard:
    """The guard of one episode at a time."""

    def __init__(self, guard: Guard, actions: Sequence[TensorSpec], clock: Callable[[], float]) -> None:
        """`clock` tells the seconds that `change_per_second` counts."""
        self.violated: Violations = {}  # by the last action
        self._guard = ActionGuard(guard, actions)
        self._specs = list(actions)
        self._first, *self._others = (spec.name for spec in actions)
        self._clock = clock
        self._limits_changes = self._guard.limits_changes
        self._check = QuickCheck.of(self._guard.tensors)
        self._given: list[float] = []  # the elements of the action before; none where an episode begins
        self._given_s = 0.0

    def reset(self) -> None:
        """The next action begins an episode."""
        self._given = []

    @property
    def limits_changes(self) -> bool:
        """Whether a limit depends on the action before."""
        return self._guard.limits_changes

    def executed(self, action: Arrays) -> None:
        """The action before the next one, [1, …] by name, where it is not what `apply` gave last.

        It counts as its nearest within the limits of the range: the next one has to be within them, too.
        """
        within = dict(action)
        for limits in self._guard.tensors:
            name = limits.spec.name
            if limits.spec.dtype not in UNLIMITED:  # numpy would compare uint64 with int64 in float64
                within[name] = np.clip(action[name].reshape(-1), limits.floor, limits.ceiling)
        self._given, self._given_s = self._flatten(within), self._clock()

    def apply(self, outputs: Arrays) -> Arrays:
        """The outputs with the actions to use. Raises ActionRefused."""
        now_s = self._clock() if self._limits_changes else 0.0
        check = self._check
        if check is not None:
            values, given = self._flatten(outputs), self._given
            if given and self._limits_changes:
                is_sound = check.follow(values, given, now_s - self._given_s)
            else:
                is_sound = check.are_within(values)
            if is_sound:
                if self.violated:
                    self.violated = {}
                self._given, self._given_s = values, now_s
                return outputs
        return self._decide(outputs, now_s)

    def _decide(self, outputs: Arrays, now_s: float) -> Arrays:
        guarded = self._guard.apply(outputs, self._previous(now_s) if self._given else None)
        self.violated = {} if guarded is None else guarded.rules(0, 1)
        if guarded is not None:
            refusal = guarded.refusal(0, 1)
            if refusal is not None:
                raise refusal
            outputs = outputs | guarded.actions
        self._given, self._given_s = self._flatten(outputs), now_s
        return outputs

    def _previous(self, now_s: float) -> Previous:
        actions: Arrays = {}
        start = 0
        for spec in self._specs:
            part = self._given[start : start + spec.size]
            actions[spec.name] = np.array(part, spec.dtype).reshape(1, *spec.shape)
            start += spec.size
        elapsed_s = now_s - self._given_s
        return Previous(actions, np.ones(1, np.bool_), np.array([0.0 if math.isnan(elapsed_s) else elapsed_s]))

    def _flatten(self, outputs: Arrays) -> list[float]:
        """The elements of all tensors."""
        values: list[float] = outputs[self._first].ravel().tolist()
        for name in self._others:
            values += outputs[name].ravel().tolist()
        return values
