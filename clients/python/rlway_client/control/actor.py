"""Acts at a fixed rate, and never waits for the policy longer than a tick allows.

In:      an observation at every tick.
Out:     the newest action at every tick, and how old the observation is that it answers.
Refuses: a rate or a wait that is not possible (UsageError).

    tick      observe ── newest observation ──▶ policy, on a thread of its own
              apply   ◀── newest action ───────

The policy is asked for one observation at a time. An observation that waits when the next tick comes is replaced by the
newer one, so a slow policy answers late, but never out of date by more than one of its own answers.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from rlway_client.common.quote import reason
from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.meaning_sentences import rate_sentence
from rlway_client.contract.policy import PolicyLike
from rlway_client.control.ticks import Ticks

log = logging.getLogger(__name__)


class _Sight(NamedTuple):
    """An observation, and when it was taken."""

    tick: int
    observation: Any
    taken_s: float


class Given(NamedTuple):
    """What a tick executes. `action` is None before the first one; `age_s` is the age of its observation."""

    action: Any
    age_s: float
    is_fresh: bool  # whether it answers this tick's own observation


class Actor:
    """A policy in a control loop. Its methods are for one thread."""

    def __init__(self, policy: PolicyLike[Any], rate_hz: float, *, wait: float = 0.5) -> None:
        """A tick waits for its own action for the share `wait` of its period, and takes the newest one then.

        The policy is any that has `act`: EdgePolicy, PolicyClient, or one of your own. Raises UsageError.
        """
        if not 0 < rate_hz < float("inf"):
            raise UsageError(f"rate_hz: expected a number above 0, got {rate_hz}.")
        if not 0 <= wait < 1:
            raise UsageError(f"wait: expected a share of the period from 0 to below 1, got {wait}.")
        manifest = getattr(policy, "manifest", None)
        other = rate_sentence(manifest, rate_hz) if isinstance(manifest, Manifest) else None
        if other is not None:
            log.warning("%s", other)
        self.period_s = 1 / rate_hz
        self.ticks = Ticks()
        self._policy = policy
        self._has_deadline = getattr(policy, "fallback", None) is not None
        self._wait_s = wait * self.period_s
        self._changed = threading.Condition()
        self._waiting: _Sight | None = None  # the policy has not begun with it
        self._newest: tuple[_Sight, Any] | None = None
        self._executed = -1  # the tick whose observation the last action answered
        self._begins = False  # whether the episode begins with the waiting observation
        self._tick = 0
        self._closed = False
        self._thread = threading.Thread(target=self._act, name="rlway-actor", daemon=True)
        self._thread.start()

    def step(self, observation: Any) -> Given:
        """Sends this observation to the policy, and gives the newest action, after at most `wait` periods."""
        taken_s = time.monotonic()
        # The caller may change its arrays while the policy still reads them.
        sight = _Sight(self._tick, copy.deepcopy(observation), taken_s)
        with self._changed:
            self.ticks.dropped += self._waiting is not None
            self._waiting = sight
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._newest is not None and self._newest[0] is sight, self._wait_s)
            newest = self._newest
        self._tick += 1
        if newest is None:
            self.ticks.count(None, is_fresh=False, is_new=False)
            return Given(None, 0.0, False)
        answered, action = newest
        given = Given(action, time.monotonic() - answered.taken_s, answered is sight)
        self.ticks.count(given.age_s, given.is_fresh, answered.tick > self._executed)
        self._executed = answered.tick
        return given

    def run(
        self,
        observe: Callable[[], Any],
        apply: Callable[[Any], None],
        *,
        duration_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> Ticks:
        """Calls `observe` and `apply` at every tick, until `duration_s` is over or `stop` is set; what happened.

        `apply` is called at every tick once the first action is there. A tick that begins more than a period late is
        left out, and the next ones keep the rate.
        """
        begun_s = due_s = time.monotonic()
        while not (stop and stop.is_set()) and (duration_s is None or due_s < begun_s + duration_s):
            time.sleep(max(0.0, due_s - time.monotonic()))
            self.ticks.begun_late(time.monotonic() - due_s)
            given = self.step(observe())
            if given.action is not None:
                apply(given.action)
            due_s += self.period_s
            behind = int((time.monotonic() - due_s) / self.period_s)
            if behind > 0:
                self.ticks.missed += behind
                due_s += behind * self.period_s
        return self.ticks

    def reset(self) -> None:
        """The next observation begins an episode; the action of an earlier one is not executed any more."""
        with self._changed:
            self._begins, self._waiting, self._newest = True, None, None

    def close(self) -> None:
        """Ends the thread, once the policy has answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _act(self) -> None:
        """Asks the policy for one observation after the other: the newest each time."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed:
                    return
                sight, self._waiting = self._waiting, None
                begins, self._begins = self._begins, False
            assert sight is not None
            try:
                if begins:
                    self._begin()
                action = self._ask(sight)
            except Exception as error:  # the loop goes on with the last action
                if not self.ticks.failed:
                    log.warning("the policy failed, and the last action is executed again", exc_info=error)
                self.ticks.failed += 1
                self.ticks.fault = reason(error)
                continue
            with self._changed:
                if not self._begins:  # otherwise it belongs to the episode before
                    self._newest = sight, action
                    self._changed.notify_all()

    def _begin(self) -> None:
        """Begins an episode; one that could not begin does so with the next observation."""
        try:
            self._policy.reset()
        except Exception:
            with self._changed:
                self._begins = True
            raise

    def _ask(self, sight: _Sight) -> Any:
        if self._has_deadline:
            act: Callable[..., Any] = self._policy.act
            return act(sight.observation, taken_s=sight.taken_s)
        return self._policy.act(sight.observation)
