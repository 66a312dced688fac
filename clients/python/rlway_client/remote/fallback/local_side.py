"""What acts in the server's place: a policy in this process, the last action, or a fixed action.

In:      observations, each of which may lack a server's answer; the actions that were given.
Out:     an action, always, and who gave it.
Refuses: ServerUnreachable where there is no action to hold, because none has been given yet.

An observation that the local policy refuses too, and a policy that fails, do not stop a control loop: the last action
is held. Before the first action, that is the action nearest to zero within its bounds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import numpy as np

from rlway_client.contract.errors import RlwayError, ServerUnreachable, SpecViolated, UsageError
from rlway_client.contract.guard import NO_VIOLATIONS, Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.nesting import grow, leaves, neutral_observation, row_of
from rlway_client.contract.policy import PolicyLike
from rlway_client.remote.messages import Source

log = logging.getLogger(__name__)

HOLD: Literal["hold"] = "hold"
WARM_UPS = 9
SAMPLING = ("explore", "seed", "time_step")  # the options of a request that a local policy takes, too


class LocalAction(NamedTuple):
    """An action without the server. `fault` says why the local policy did not give it; `refused`: it did not fit."""

    action: Any
    source: Source
    fault: str | None = None
    refused: bool = False


class LocalSide:
    """One fallback. `keeps_state`: an action depends on the steps before it, by a policy state or by a guard."""

    def __init__(self, fallback: Any) -> None:
        """`fallback` is a policy with `act`, the word "hold", or an action."""
        is_policy = callable(getattr(fallback, "act", None))
        self._policy: PolicyLike[Any] | None = fallback if is_policy else None
        self._fixed = None if is_policy or _is_hold(fallback) else fallback
        self.manifest: Manifest | None = getattr(fallback, "manifest", None) if is_policy else None
        self.keeps_state = is_policy and bool(getattr(fallback, "needs_episode", False))
        self.judges = is_policy  # whether it can tell an observation that does not fit
        self.version = self.manifest.version if self.manifest else 0
        self._executed: Callable[[Any], None] | None = getattr(fallback, "executed", None) if is_policy else None
        self.steps = 0  # since the episode began
        self._is_failing = False
        self._last: Any = None
        self.acting_s = self._warm_up()

    def act(self, observation: Any, options: Mapping[str, Any]) -> LocalAction:
        """The action for this observation. Raises ServerUnreachable where there is nothing to hold."""
        if self._policy is None:
            return self.held() if self._fixed is None else LocalAction(self._fixed, "fixed")
        given = {name: options[name] for name in SAMPLING if options.get(name) is not None}
        try:
            action = self._policy.act(observation, **given)
        except SpecViolated as error:
            return self.held(str(error), refused=True)
        except Exception as error:
            if not self._is_failing:  # a control loop must not fill the log
                log.warning("the local policy failed, and the last action is held", exc_info=error)
            self._is_failing = True
            return self.held(f"the local policy failed: {error}")
        self._is_failing = False
        return LocalAction(action, "local")

    def try_to_act(self, observation: Any, options: Mapping[str, Any]) -> LocalAction | ServerUnreachable:
        """As `act`, with the error as a value."""
        try:
            return self.act(observation, options)
        except ServerUnreachable as error:
            return error

    def held(self, fault: str | None = None, refused: bool = False) -> LocalAction:
        """The last action. Raises ServerUnreachable where there is none."""
        if self._last is None and self.manifest is not None:
            specs = self.manifest.actions
            self._last = row_of({spec.name: spec.neutral(1) for spec in specs}, grow(specs))
        if self._last is None:
            raise ServerUnreachable(
                "fallback: there is no action to hold before the server's first one; pass an action or an EdgePolicy."
            )
        return LocalAction(self._last, "hold", fault, refused)

    def gave(self, action: Any, by: Source) -> None:
        """This action was given to the caller. A guard limits the change from it, whoever gave it."""
        self._last = action
        self.steps += 1
        if by != "local" and self._executed is not None:
            self._executed(action)

    def guard(self, action: Any) -> Any:
        """A server's action as the local policy's guard lets it through. Raises ActionRefused."""
        guard: Callable[[Any], Any] | None = getattr(self._policy, "guard", None)
        return action if guard is None else guard(action)

    @property
    def guarded(self) -> Violations:
        """The rules of its guard that the local policy's last action violated."""
        violations: Violations = getattr(self._policy, "guarded", NO_VIOLATIONS)
        return violations

    def reset(self) -> None:
        """The next observation begins an episode."""
        self.steps = 0
        self._last = None
        if self._policy is not None:
            self._policy.reset()

    def check(self, served: Manifest) -> None:
        """Raises UsageError if the server's policy is another one, or has other tensors."""
        own = self.manifest
        if own is None:
            return
        if own.policy != served.policy:
            raise UsageError(
                f"fallback: expected a bundle of {served.policy!r}, as the server serves, got one of {own.policy!r}; "
                f"deploy the bundle of the served policy."
            )
        for what in ("observation", "actions", "state"):
            ours, theirs = ([(s.name, s.label) for s in getattr(one, what)] for one in (own, served))
            if ours != theirs:
                raise UsageError(
                    f"fallback: {what}: expected {_named(theirs)}, as the server serves it, got {_named(ours)} in the "
                    f"local bundle; deploy the bundle of the served version."
                )

    def fits(self, action: Any) -> bool:
        """Whether a server's action has the tensors of the local policy's."""
        if self.manifest is None:
            return True
        try:
            parts = leaves(action, grow(self.manifest.actions), "action")
            return all(np.shape(part) == tuple(spec.shape) for spec, part, _ in parts)
        except SpecViolated:
            return False

    def skew(self, served_version: int) -> str | None:
        """How its version differs from the server's, in a sentence."""
        if self.manifest is None or self.version == served_version:
            return None
        return f"the local bundle is version {self.version}, and the server's version is {served_version}"

    def _warm_up(self) -> float:
        """Acts a few times; how long it took, in seconds: the median. 0 without a policy."""
        if self._policy is None or self.manifest is None:
            return 0.0
        observation = neutral_observation(self.manifest.observation)
        times_s = []
        for _ in range(WARM_UPS):
            begun_s = time.perf_counter()
            with suppress(RlwayError):  # a guard may refuse the action of an observation that nobody made
                self._policy.act(observation)
            times_s.append(time.perf_counter() - begun_s)
        self._policy.reset()
        return float(np.median(times_s))


def _is_hold(fallback: Any) -> bool:
    return isinstance(fallback, str) and fallback == HOLD


def _named(specs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {label}" for name, label in specs[:4]) or "none"
