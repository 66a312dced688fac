"""The guard of a policy in its runs: the actions that it gave before lie in the episodes of the calls.

In:      a batch of calls, and the results of their run.
Out:     `Guarded` for the rows of all calls; None where no action violates a rule.
Refuses: nothing by itself; `Guarded` says which rows are refused.

A call without an episode has no action before. Where the guard limits changes, the endpoint refuses such calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from rlway_client.contract.guarding import REFUSE, ActionGuard, Guarded, Previous
from rlway_client.contract.parity import Arrays
from rlway_serve.messages.call import AnyCall, PolicyState
from rlway_serve.telemetry.guards import GuardCounts


class RunGuard:
    """One policy's version. Used by one thread at a time."""

    def __init__(
        self, guard: ActionGuard, policy: str, counts: GuardCounts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` tells the seconds that `change_per_second` counts."""
        self._guard = guard
        self._specs = [tensor.spec for tensor in guard.tensors]
        self._policy = policy
        self._counts = counts
        self._clock = clock
        self._now_s = 0.0  # of the last run

    @property
    def remembers(self) -> bool:
        """Whether the steps of one episode have to run one after the other."""
        return self._guard.remembers

    @property
    def may_refuse(self) -> bool:
        """Whether it can refuse an action."""
        return "refuse" in self._guard.reactions.values()

    def apply_plain(self, actions: Arrays) -> Guarded | None:
        """What becomes of the actions of plain calls, which have no episodes.

        It is counted unless an action is not finite: that may have spoilt others, so these calls run again, apart.
        """
        guarded = self._guard.apply(actions)
        return guarded if guarded is None or guarded.has_non_finite else self._counted(guarded)

    def apply(self, batch: Sequence[AnyCall], results: Arrays) -> Guarded | None:
        """What becomes of the actions of any calls."""
        self._now_s = self._clock()
        previous = self._previous(batch) if self._guard.remembers else None
        guarded = self._guard.apply({spec.name: results[spec.name] for spec in self._specs}, previous)
        return None if guarded is None else self._counted(guarded)

    def keep(self, batch: Sequence[AnyCall], results: Arrays, given: Sequence[bool]) -> None:
        """Stores the actions in the episodes of the calls that are `given` theirs."""
        if not self._guard.remembers:
            return
        start = 0
        for call, is_given in zip(batch, given, strict=True):
            rows = slice(start, start := start + call.rows)
            if call.state is not None and is_given:
                call.state.actions = {spec.name: results[spec.name][rows].copy() for spec in self._specs}
                call.state.given_s = self._now_s

    def _previous(self, batch: Sequence[AnyCall]) -> Previous | None:
        states = [_before(call) for call in batch]
        if not any(states):
            return None
        rows = [call.rows for call in batch]
        actions: Arrays = {}
        for spec in self._specs:
            blank = [np.zeros((n, *spec.shape), spec.numpy_dtype) for n in rows]
            parts = [
                unknown if state is None or state.actions is None else state.actions[spec.name]
                for state, unknown in zip(states, blank, strict=True)
            ]
            actions[spec.name] = np.concatenate(parts)
        known = np.repeat([state is not None for state in states], rows)
        start = 0
        for call in batch:
            if call.reset is not None:
                known[start : start + call.rows] &= ~call.reset
            start += call.rows
        elapsed_s = [0.0 if state is None else self._now_s - state.given_s for state in states]
        return Previous(actions, known, np.repeat(elapsed_s, rows))

    def _counted(self, guarded: Guarded) -> Guarded:
        for breach in guarded.breaches:
            self._counts.add(self._policy, breach.spec.name, breach.rule, sum(breach.rows))
        return guarded


def are_given(batch: Sequence[AnyCall], guarded: Guarded | None) -> list[bool]:
    """For each call, whether the guard gives it its actions, and refuses none of them."""
    if guarded is None or not (guarded.levels == REFUSE).any():
        return [True] * len(batch)
    ends = np.cumsum([call.rows for call in batch]).tolist()
    pairs = zip([0, *ends[:-1]], ends, strict=True)
    return [not (guarded.levels[start:end] == REFUSE).any() for start, end in pairs]


def _before(call: AnyCall) -> PolicyState | None:
    """The state of the call's episode, if the guard gave an action in it."""
    state = call.state
    return None if call.first or state is None or state.actions is None else state
