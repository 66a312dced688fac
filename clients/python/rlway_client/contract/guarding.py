"""Applies a guard to actions, many rows at once: on a robot one row, on a server all rows of a run.

In:      the action's tensors [B, …]; for each row the action that the guard gave before, and how long ago.
Out:     `Guarded`: the actions to use, the rules that each row violates, the rows that are refused.
Refuses: nothing by itself; `Guarded.refusal` is the error of a refused row.

Every row is by itself. Arithmetic is in the tensor's dtype, and in int64 for whole numbers.
docs/guard.md has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.errors import ActionRefused
from rlway_client.contract.guard import (
    NON_FINITE,
    OUT_OF_RANGE,
    REACTIONS,
    TOO_FAST,
    ActionLimits,
    Guard,
    Violations,
    elements,
)
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec, describe

UNLIMITED_CHANGE = 2.0**63  # of whole numbers: none of int64 is further from all others
CLAMP, HOLD, SAFE, REFUSE = range(1, len(REACTIONS) + 1)  # how strict each reaction is; 0 is none


class Previous(NamedTuple):
    """The actions that the guard gave before."""

    actions: Arrays  # [B, …] by name; rows that are not known hold anything
    known: AnyArray  # bool[B]
    elapsed_s: AnyArray  # float64[B], since they were given


class Breach(NamedTuple):
    """Where the rows of one tensor violate one rule, and the limits that hold there."""

    spec: TensorSpec
    rule: str
    where: AnyArray  # bool[B, n]
    low: AnyArray | float  # [B, n] or [n]
    high: AnyArray | float
    values: AnyArray  # [B, n], as the policy gave them
    rows: Sequence[bool]  # whether it is violated anywhere in each row


class Guarded(NamedTuple):
    """What the guard made of some rows of actions."""

    actions: Arrays  # [B, …] by name; those of a refused row are the policy's
    breaches: Sequence[Breach]  # empty where no row violates a rule
    levels: AnyArray  # int[B]: how strict the reaction to each row is, 0 to `REFUSE`
    reactions: Mapping[str, str]  # by rule

    @property
    def has_non_finite(self) -> bool:
        """Whether some row is not finite."""
        return any(breach.rule == NON_FINITE for breach in self.breaches)

    def rules(self, start: int, end: int) -> Violations:
        """The rules that some of these rows violate, by action tensor."""
        found: Violations = {}
        for breach in self.breaches:
            if any(breach.rows[start:end]):
                found.setdefault(breach.spec.name, []).append(breach.rule)
        return found

    def refusal(self, start: int, end: int) -> ActionRefused | None:
        """Why one of these rows is refused; None if none is."""
        refused = np.flatnonzero(self.levels[start:end] == REFUSE)
        if not len(refused):
            return None
        row = start + int(refused[0])
        breach = next(b for b in self.breaches if self.reactions[b.rule] == "refuse" and b.rows[row])
        place = int(breach.where[row].argmax())
        index = np.unravel_index(place, breach.spec.shape)
        element = breach.spec.name + "".join(f"[{int(i)}]" for i in index)
        low, high = (np.broadcast_to(end, breach.where.shape)[row, place].item() for end in (breach.low, breach.high))
        where = f"{element} for observation {row - start}" if end - start > 1 else element
        expected, got = _range(breach, low, high), describe(breach.values[row, place].item())
        rule = f"the guard refuses an action that is {breach.rule}"
        return ActionRefused(f"{where}: {rule}: expected {expected}, got {got}.")


class ActionGuard:
    """The guard of one policy, with its limits as arrays."""

    def __init__(self, guard: Guard, actions: Sequence[TensorSpec]) -> None:
        self.guard = guard
        self.reactions = guard.reactions
        self.limits_changes = guard.limits_changes
        self.remembers = self.limits_changes or "hold" in self.reactions.values()  # whether the action before matters
        self.safe = {spec.name: _safe(spec, guard.actions.get(spec.name)) for spec in actions}  # zeros if never given
        self.tensors = [TensorLimits(spec, guard.actions.get(spec.name, ActionLimits())) for spec in actions]
        self._levels = {rule: REACTIONS.index(reaction) + 1 for rule, reaction in self.reactions.items()}

    def apply(self, actions: Arrays, previous: Previous | None = None) -> Guarded | None:
        """What becomes of the actions; None if they violate no rule and stay as they are."""
        for tensor in self.tensors:
            if not tensor.are_sound(actions[tensor.spec.name], previous):
                with np.errstate(all="ignore"):
                    return self._apply(actions, previous)
        return None

    def _apply(self, actions: Arrays, previous: Previous | None) -> Guarded | None:
        breaches: list[Breach] = []
        clamped: Arrays = {}
        for tensor in self.tensors:
            name = tensor.spec.name
            clamped[name], found = tensor.clamp(actions[name], previous)
            breaches += [breach for breach in found if any(breach.rows)]
        if not breaches:
            return None
        levels: AnyArray = np.zeros(len(breaches[0].where), np.int64)
        for breach in breaches:
            levels = np.maximum(levels, self._levels[breach.rule] * np.array(breach.rows))
        known: Any = False if previous is None else previous.known
        held, safe = (levels == HOLD) & known, (levels == SAFE) | ((levels == HOLD) & ~np.asarray(known))
        for name, array in clamped.items():
            array[levels == REFUSE] = actions[name][levels == REFUSE]
            array[safe] = self.safe[name]
            if previous is not None:
                array[held] = previous.actions[name][held]
        return Guarded(clamped, breaches, levels, self.reactions)


class TensorLimits:
    """The limits of one action tensor, [n] each; infinite, or the dtype's ends, where there are none."""

    def __init__(self, spec: TensorSpec, limits: ActionLimits) -> None:
        self.spec = spec
        self.is_real = spec.numpy_dtype.kind == "f"
        self._dtype: np.dtype[Any] = np.dtype(spec.dtype if self.is_real else np.int64)
        least, most = (-np.inf, np.inf) if self.is_real else (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
        self.low = self._array(elements(limits.minimum, spec), least)
        self.high = self._array(elements(limits.maximum, spec), most)
        steps = elements(limits.change_per_step, spec)
        self.step = self._array([None if step is None else min(step, most) for step in steps], most)
        rates = elements(limits.change_per_second, spec, fractional=True)
        # Of whole numbers in float64: the product with a time is rounded down.
        self.rate = None
        if any(rate is not None for rate in rates):
            self.rate = self._array(rates, np.inf, np.dtype(self._dtype if self.is_real else np.float64))
        self.limits_changes = self.rate is not None or bool((self.step < most).any())
        self._limits_range = bool((self.low > least).any() or (self.high < most).any())
        self._least, self._most = least, most
        # With finite ends in place of infinite ones, one comparison also finds what is not finite.
        finite = np.finfo(self._dtype) if self.is_real else np.iinfo(self._dtype)
        self.floor, self.ceiling = np.maximum(self.low, finite.min), np.minimum(self.high, finite.max)
        ends = {*zip(self.floor.tolist(), self.ceiling.tolist(), strict=True)}
        self._range: tuple[float, float] | None = ends.pop() if len(ends) == 1 else None  # of all elements alike

    def are_sound(self, actions: AnyArray, previous: Previous | None) -> bool:
        """Whether no row violates a rule."""
        if (self.is_real or self._limits_range) and not self._are_within(actions):
            return False
        if previous is None or not self.limits_changes or not previous.known.any():
            return True
        rows = actions.reshape(len(actions), -1)
        low, high = self._reach(previous, rows.shape)
        return bool((((rows >= low) & (rows <= high)) | ~previous.known[:, np.newaxis]).all())

    def _are_within(self, actions: AnyArray) -> bool:
        """Whether all are finite, and within the limits of the range."""
        if self._range is not None and actions.size:
            # Several times faster than comparisons. NaN, if there is any, is the place of both.
            floor, ceiling = self._range
            numbers = actions.ravel()
            return bool(floor <= numbers.item(numbers.argmin()) and numbers.item(numbers.argmax()) <= ceiling)
        rows = actions.reshape(len(actions), -1)
        within = rows >= self.floor
        within &= rows <= self.ceiling
        return bool(np.count_nonzero(within) == within.size)  # several times faster than `all`

    def clamp(self, actions: AnyArray, previous: Previous | None) -> tuple[AnyArray, list[Breach]]:
        """The actions within their limits, and where they were not."""
        spec, shape = self.spec, (len(actions), self.spec.size)
        values = actions.reshape(shape).astype(self._dtype)
        breaches = []
        if self.is_real:
            breaches.append(_breach(spec, NON_FINITE, ~np.isfinite(values), -np.inf, np.inf, values))
        below, above = values < self.low, values > self.high
        breaches.append(_breach(spec, OUT_OF_RANGE, below | above, self.low, self.high, values))
        clamped = np.where(below, self.low, np.where(above, self.high, values))
        if previous is not None and self.limits_changes:
            low, high = self._reach(previous, shape)
            known = previous.known[:, np.newaxis]
            below, above = known & (clamped < low), known & (clamped > high)
            breaches.append(_breach(spec, TOO_FAST, below | above, low, high, values))
            clamped = np.where(below, low, np.where(above, high, clamped))
        return clamped.astype(spec.numpy_dtype).reshape(actions.shape), breaches

    def _reach(self, previous: Previous, shape: tuple[int, ...]) -> tuple[AnyArray, AnyArray]:  # -> [B, n] each
        """The lowest and the highest value that may follow the action before."""
        before = previous.actions[self.spec.name].reshape(shape).astype(self._dtype)
        change: AnyArray = self.step
        if self.rate is not None:
            elapsed_s = np.where(np.isfinite(previous.elapsed_s) & (previous.elapsed_s > 0), previous.elapsed_s, 0)
            with np.errstate(all="ignore"):  # an infinite rate is none, and 0 s times that is NaN, which `fmin` ignores
                reached = self.rate * elapsed_s.astype(self.rate.dtype)[:, np.newaxis]
                change = np.fmin(self.step, reached if self.is_real else _whole(reached))
        if self.is_real:
            return before - change, before + change
        # Beyond int64 there is no value, and so no limit.
        unlimited = change == self._most
        low = np.where(unlimited | (before < self._least + change), self._least, before - change)
        return low, np.where(unlimited | (before > self._most - change), self._most, before + change)

    def _array(self, numbers: list[Any], none: float, dtype: np.dtype[Any] | None = None) -> AnyArray:
        return np.array([none if number is None else number for number in numbers], dtype or self._dtype)


def _breach(
    spec: TensorSpec, rule: str, where: AnyArray, low: AnyArray | float, high: AnyArray | float, values: AnyArray
) -> Breach:
    rows: list[bool] = np.asarray(where.any(axis=1)).tolist()
    return Breach(spec, rule, where, low, high, values, rows)


def _whole(reached: AnyArray) -> AnyArray:
    """Changes rounded down to whole numbers; the largest of int64 where there is no limit."""
    limited = reached < UNLIMITED_CHANGE
    return np.where(limited, np.floor(np.where(limited, reached, 0)).astype(np.int64), np.iinfo(np.int64).max)


def _safe(spec: TensorSpec, limits: ActionLimits | None) -> AnyArray:  # -> spec.shape
    given = elements(None if limits is None else limits.safe, spec)
    return np.array([0 if number is None else number for number in given], spec.numpy_dtype).reshape(spec.shape)


def _range(breach: Breach, low: float, high: float) -> str:
    if breach.rule == NON_FINITE:
        return "a finite number"
    after = " after the action before" if breach.rule == TOO_FAST else ""
    return f"{describe(low)} to {describe(high)}{after}"
