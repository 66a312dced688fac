"""Decides who answers an observation, and counts it: what the blocking and the asyncio client have in common.

In:      the server's reply or error, if it was asked.
Out:     a reply with an action, always.
Refuses: a deadline that leaves the local policy no time, options that only a server can follow (UsageError).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from rlway_client.contract.errors import DeadlineExceeded, RlwayError, ServerUnreachable, SpecViolated, UsageError
from rlway_client.contract.guard import NO_VIOLATIONS
from rlway_client.remote.fallback.local_side import LocalAction, LocalSide
from rlway_client.remote.fallback.prober import Asker, Prober
from rlway_client.remote.fallback.switch import Counts, OnChange, Side, Switch
from rlway_client.remote.messages import Reply, needs_episodes, read_manifest

PROBES = 3  # in a row, before the server answers again
PROBE_EVERY_S = 0.1  # policies with state are probed with every observation
LOOK_AGAIN_S = 0.02  # while a program waits for the server
WARM_STEPS = 16  # of a recurrent policy's episode on the server, before it takes over from the local policy
RESERVE_S = 0.001  # time-outs of sockets and event loops are rounded up to whole milliseconds


def no_episode() -> UsageError:
    """The error for a policy whose steps depend on each other, without an id of an episode."""
    return UsageError(
        "fallback: a policy with state, or with a guard that limits changes, needs an `episode`, an id that no other "
        "client uses, got none."
    )


class Resettable(Protocol):
    """A client for which an episode can begin."""

    def reset(self) -> None: ...


Client = TypeVar("Client", bound=Resettable)


def episode_ids(episode: str | None) -> Iterator[str | None]:
    """Ids of the episodes on the server; a new one after each failure, so that no late request steps into it."""
    return (episode and (episode if n == 1 else f"{episode}~{n}") for n in count(1))


class Fallback(ABC, Generic[Client]):
    """One server with a local side. Not for several threads at once."""

    def __init__(
        self,
        fallback: Any,
        within_ms: float,
        on_change: OnChange | None,
        has_episode: bool,
        connect: Callable[[], Asker],
    ) -> None:
        """`connect` makes a client for the prober; of a policy with state, each has an episode of its own."""
        self._local = LocalSide(fallback)
        self._has_episode = has_episode
        if self._local.keeps_state and not has_episode:
            raise no_episode()
        self._in_episodes = self._local.keeps_state  # whether steps of an episode depend on each other, as far as known
        self._reserve_s = RESERVE_S + self._local.acting_s
        self.within_s = within_ms / 1e3
        if not self.within_s > self._reserve_s:
            raise UsageError(
                f"within_ms: expected more than {self._reserve_s * 1e3:.1f}, the time that the local policy needs, got "
                f"{within_ms:g}; allow more time."
            )
        self._switch = Switch(PROBES, on_change)
        self._served_version: int | None = None
        self._mismatch: UsageError | None = None
        self._probe_from_s = 0.0
        self._prober = Prober(connect, self._compare, self.within_s, self._local.keeps_state)
        self._prober.offer(None, {})
        self._has_returned = False  # whether the server's next action is the first after local ones
        self.client: Client | None = None  # asks the server, while that is the side that answers

    @property
    def side(self) -> Side:
        """Who answers the next observation, as far as is known."""
        return self._switch.side

    @property
    def why(self) -> str:
        """Why that side answers, in a sentence."""
        return self._switch.why

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return self._switch.counts

    @property
    def skew(self) -> str | None:
        """How the local bundle's version differs from the server's, in a sentence; None if no difference is known."""
        return self._local.skew(self._served_version) if self._served_version else None

    def answers(self) -> bool:
        """Whether the server answers the next observation; probes it again if not. Raises UsageError for a misfit."""
        self.collect()
        if self._mismatch is not None:
            raise self._mismatch
        if self.side == "local":
            self._prober.offer(None, {})
        return self.side == "server"

    def no_server(self, timeout_s: float) -> ServerUnreachable:
        """The error after waiting for it."""
        return ServerUnreachable(f"fallback: the server did not answer within {timeout_s:g} s: {self.why}")

    def remaining_s(self, taken_s: float | None) -> float:
        """How long the server may take for an observation of this age, so that a local action is still in time."""
        now_s = time.monotonic()
        return (now_s if taken_s is None else taken_s) + self.within_s - self._reserve_s - now_s

    def limited(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with a deadline, after which the server need not run the policy."""
        return {"deadline_ms": self.within_s * 1e3, **options}

    def collect(self) -> None:
        """Takes in how the probes went; the server answers again once enough were good."""
        for fault in self._prober.results():
            self._switch.probed(fault)
        if self._switch.side == "server" or not self._switch.is_proved or self._mismatch is not None:
            return
        seen, steps = self._prober.warm, self._local.steps
        if self._in_episodes and seen < WARM_STEPS and seen != steps:
            return  # the state of its episode on the server lacks steps
        if not self.can_adopt():
            return
        client = self._prober.take_client()
        if client is not None:
            self.client = self.adopt(client)
            self._has_returned = bool(steps)
            if not steps:
                self.client.reset()
            self._switch.give_back()

    def settle(
        self, observation: Any, options: Mapping[str, Any], outcome: Reply | RlwayError | None, late: bool = False
    ) -> Reply:
        """The reply to give. `outcome` is the server's reply or error; None if it was not asked.

        Raises ServerUnreachable where there is no action to hold yet.
        """
        local, counts = self._local, self.counts
        if isinstance(outcome, Reply):
            outcome = self._checked(outcome)
        if isinstance(outcome, Reply):
            if local.keeps_state:
                local.act(observation, options)  # a policy with state sees every observation, whoever answers
            counts.server += 1
            local.gave(outcome.action, "server")
            return outcome
        own = local.try_to_act(observation, options)
        refused = isinstance(own, LocalAction) and own.refused
        why = self.why if outcome is None else str(outcome)
        if outcome is not None and not (isinstance(outcome, SpecViolated) and (refused or not local.judges)):
            if late or isinstance(outcome, DeadlineExceeded):
                counts.late += 1
            else:
                counts.failed += 1
            self._switch.fail(why)
        if self.side == "local" and not refused:
            self._probe(observation, options)
        if isinstance(own, RlwayError):
            raise own
        if own.source == "hold":
            counts.held += 1
        else:
            counts.local += 1
        local.gave(own.action, own.source)
        guarded = local.guarded if own.source == "local" else NO_VIOLATIONS
        return Reply(own.action, local.version, {}, guarded, own.source, own.fault or why)

    def _checked(self, reply: Reply) -> Reply | RlwayError:
        """The reply, if its action is one that the local policy could give."""
        if reply.version != self._served_version and not self._local.fits(reply.action):
            return UsageError(f"fallback: the server's version {reply.version} gives actions of other tensors.")
        self._served_version = reply.version
        if not self._has_returned:
            return reply
        # The server's guard does not know the action before its first one, so the local guard limits the change until
        # it has nothing to limit any more.
        try:
            action = self._local.guard(reply.action)
        except RlwayError as error:
            return error
        self._has_returned = bool(self._local.guarded)
        return reply._replace(action=action, guarded=self._local.guarded) if self._has_returned else reply

    def abandoned(self, observation: Any, options: Mapping[str, Any]) -> None:
        """A step was interrupted. The server may have made it, and the local side makes it now."""
        if self._in_episodes:
            self._local.try_to_act(observation, options)
            self._switch.fail("a step was interrupted, and the server's state may lack it")

    def overdue(self) -> None:
        """The observation is older than the deadline, and the server was not asked."""
        self.counts.overdue += 1
        if self._in_episodes:
            self._switch.fail("an observation was older than the deadline, and the server's state lacks its step")

    def reset(self) -> None:
        """The next observation begins an episode."""
        self._local.reset()
        self._prober.begin()
        if self.client is not None:
            self.client.reset()

    def close(self) -> None:
        """Ends the probes, and closes the connection."""
        self._prober.close()
        if self.client is not None:
            self.release(self.client)

    def drop(self, client: Client) -> None:
        """Leaves the client, if the local side answers now and no other request has left it yet."""
        if self.side == "local" and self.client is client:
            self.client = None
            self.release(client)

    @abstractmethod
    def release(self, client: Client) -> None:
        """Closes its connections."""

    def can_adopt(self) -> bool:
        """Whether the client that asks the server is ready."""
        return True

    @abstractmethod
    def adopt(self, client: Asker) -> Client:
        """The client that asks while the server answers, made of the one that the prober used."""

    def _probe(self, observation: Any, options: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        if (self._in_episodes or now_s >= self._probe_from_s) and self._prober.offer(observation, options):
            self._probe_from_s = now_s + PROBE_EVERY_S

    def _compare(self, description: Mapping[str, Any]) -> None:
        """Called by the prober. Raises UsageError if the served policy is not the local one."""
        served = read_manifest(description)
        self._served_version = served.version
        if needs_episodes(description):
            self._in_episodes = self._prober.keeps_state = True
        try:
            self._local.check(served)
            if self._in_episodes and not self._has_episode:
                raise no_episode()
        except UsageError as error:
            self._mismatch = error
            raise
        self._mismatch = None
