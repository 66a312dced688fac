"""One connection of a load test: sends a request when it is told to, and reports how it ended.

In:      the time at which a request is due.
Out:     `ended`, called with the slot and the fault, if there is one, once for each request.

A connection that has ended is opened again for the next request; that time is part of the request's latency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rlway_client.contract.errors import RlwayError
from rlway_client.load.asker import DEAF, Asker, Dialect, Episode, Fault

PAUSE_S = 0.1  # before the next request after a connection could not be opened


class Slot:
    """Holds one connection, and the place of its next request among the prepared ones."""

    def __init__(
        self,
        dialect: Dialect,
        prepared: list[bytes] | None,  # None: each request is a step of the episode, and made when it is sent
        place: int,
        episode: str,
        timeout_s: float,
    ) -> None:
        self._dialect = dialect
        self._prepared = prepared
        self._place = place
        self._episode = episode
        self._begun = False
        self._timeout_s = timeout_s
        self._opening: asyncio.Task[None] | None = None
        self.asker: Asker | None = None
        self.busy = False
        self.due_s = 0.0
        self.sent_s = 0.0
        self.ended: Callable[[Slot, Fault | None], None] = _ignore

    async def connect(self) -> None:
        """Opens the connection. Raises OSError, TimeoutError, ServerUnreachable."""
        async with asyncio.timeout(self._timeout_s):
            self.asker = await self._dialect.connect(self)

    def ask(self, due_s: float | None) -> None:
        """Sends the next request, which was due at this time; None: it is due now."""
        self.busy = True
        self.sent_s = time.perf_counter()
        self.due_s = self.sent_s if due_s is None else due_s
        asker = self.asker
        if asker is not None and asker.open:
            asker.ask(self._next())
        else:
            self.drop()  # what the old connection says from now on is not about this request
            self._opening = asyncio.get_running_loop().create_task(self._open_and_ask())

    def answered(self, fault: Fault | None) -> None:
        self._begun = fault is None  # after a fault, the episode may be gone
        if self.busy:
            self.busy = False
            self.ended(self, fault)

    def lost(self, why: str) -> None:
        self.answered(Fault("connection lost", why))

    def give_up_if_late(self, now_s: float) -> None:
        """Ends a request that has waited too long for its answer, and the connection, on which it may still come."""
        if self.busy and self._opening is None and now_s - self.sent_s > self._timeout_s:
            self.drop()
            self.answered(Fault(f"no answer within {self._timeout_s:g} s"))

    def drop(self) -> None:
        """Closes the connection."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self.asker is not None:
            self.asker.listener = DEAF
            self.asker.close()
            self.asker = None

    def close(self) -> None:
        """Sends and reports nothing from now on: a connection that breaks later begins no further request."""
        self.ended = _ignore
        self.drop()

    def _next(self) -> bytes:
        self._place = (self._place + 1) % self._dialect.count
        if self._prepared is not None:
            return self._prepared[self._place]
        return self._dialect.request(self._place, Episode(self._episode, not self._begun))

    async def _open_and_ask(self) -> None:
        try:
            await self.connect()
        except (OSError, TimeoutError, RlwayError) as error:
            await asyncio.sleep(PAUSE_S)
            self._opening = None
            self.answered(Fault("no connection", str(error) or f"no answer within {self._timeout_s:g} s"))
            return
        self._opening = None
        assert self.asker is not None
        self.asker.ask(self._next())


def _ignore(slot: Slot, fault: Fault | None) -> None:
    pass
