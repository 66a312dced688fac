"""A fallback for a program on asyncio.

In:      an observation, and when it was taken.
Out:     a reply, by the deadline.

The prober asks over a blocking client on its thread. Once that has proved the server, the asyncio client connects, and
goes on with the same episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.remote.fallback.arbiter import Fallback
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
        take_over: Callable[[Asker], AwaitedAsker],
    ) -> None:
        """`take_over` makes an asyncio client that goes on where the prober's client stopped."""
        super().__init__(fallback, within_ms, on_change, has_episode, connect)
        self._take_over = take_over

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
            outcome = error
        try:
            return self.settle(observation, options, outcome, late=time.monotonic() - asked_s >= left_s)
        finally:
            if self.side == "local" and self.client is client:  # not yet dropped by another request
                self.client = None
                client.close_idle()

    def adopt(self, client: Asker) -> AwaitedAsker:
        client.close()
        return self._take_over(client)

    def reset(self) -> None:
        super().reset()
        if self.client is not None:
            self.client.reset()

    def close(self) -> None:
        super().close()
        if self.client is not None:
            self.client.close_idle()
