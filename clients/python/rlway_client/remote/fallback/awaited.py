"""A fallback for a program on asyncio.

In:      an observation, and when it was taken.
Out:     a reply, by the deadline.

The prober asks over a blocking client on its thread. Once that has proved the server, the asyncio client connects, and
goes on with the same episode.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.remote.fallback.arbiter import LOOK_AGAIN_S, Fallback
from rlway_client.remote.fallback.prober import Asker
from rlway_client.remote.fallback.switch import OnChange
from rlway_client.remote.messages import Reply


class AwaitedAsker(Protocol):
    """The asyncio client of a server, as a fallback uses it."""

    timeout_s: float

    async def ask(
        self, observations: Any, *, batched: bool = ..., taken_s: float | None = ..., **options: Any
    ) -> Reply: ...

    def reset(self) -> None: ...

    async def open_connection(self) -> None: ...

    def continued(self, client: Asker) -> Self: ...

    def close_idle(self) -> None: ...


class AwaitedFallback(Fallback[AwaitedAsker]):
    """Several observations may be under way at once, unless the policy has state."""

    def __init__(
        self,
        fallback: Any,
        within_ms: float,
        on_change: OnChange | None,
        has_episode: bool,
        connect: Callable[[], Asker],
        make_client: Callable[[], AwaitedAsker],
    ) -> None:
        """`make_client` makes an asyncio client without a connection."""
        super().__init__(fallback, within_ms, on_change, has_episode, connect)
        self._make_client = make_client
        self._opened = make_client()
        self._opening: asyncio.Future[None] | None = None

    async def wait_for_server(self, timeout_s: float) -> None:
        """Waits until the server answers: before the first action, where a program wants to be sure of it.

        Raises UsageError if it serves another policy than the local one, ServerUnreachable after `timeout_s`.
        """
        until_s = time.monotonic() + timeout_s
        while not self.answers():
            if time.monotonic() >= until_s:
                raise self.no_server(timeout_s)
            await asyncio.sleep(min(LOOK_AGAIN_S, timeout_s))

    async def ask(self, observation: Any, options: Mapping[str, Any], taken_s: float | None) -> Reply:
        """The server's reply, or the local one."""
        self.collect()
        left_s = self.remaining_s(taken_s)
        client = self.client
        if client is None:
            return self.settle(observation, options, None)
        asked_s = time.monotonic()
        client.timeout_s = left_s
        outcome: Reply | RlwayError | None = None
        try:
            if left_s > 0:
                outcome = await client.ask(observation, **self.limited(options))
            else:
                self.overdue()
        except UsageError:  # of the caller: an option that does not exist
            raise
        except RlwayError as error:
            # A failure of a client that another request has dropped says nothing about the one in its place.
            outcome = error if client is self.client else None
        except BaseException:  # cancelled
            self.abandoned(observation, options)
            self.drop(client)
            raise
        try:
            return self.settle(observation, options, outcome, late=time.monotonic() - asked_s >= left_s)
        finally:
            self.drop(client)

    def can_adopt(self) -> bool:
        """Opens a connection in the background first: the first request has no time for that."""
        if self._opening is None:
            self._opened = self._make_client()
            self._opening = asyncio.ensure_future(self._opened.open_connection())
        if not self._opening.done():
            return False
        failed = self._opening.cancelled() or self._opening.exception() is not None
        if failed:
            self._opening = None
        return not failed

    def adopt(self, client: Asker) -> AwaitedAsker:
        client.close()
        self._opening = None
        return self._opened.continued(client)

    def release(self, client: AwaitedAsker) -> None:
        client.close_idle()

    def close(self) -> None:
        super().close()
        if self._opening is not None:
            self._opening.cancel()
        self._opened.close_idle()
