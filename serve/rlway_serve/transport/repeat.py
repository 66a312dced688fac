"""Connections that repeat a request, each time with another observation.

In:      a request that may be plain, on a connection that waits for no other answer.
Out:     its answer; no object is made for the request, since the connection itself is queued as an `ExpressCall`.
Refuses: nothing. A request that turns out not to be plain is submitted in the ordinary way, with a place among the
         answers.

HTTP and WebSocket connections share this. An express call has no place among the answers that are due. It gets one as
soon as the connection receives anything else, so that answers stay in order.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from rlway_serve.messages.call import ExpressCall, PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.messages.wire import Wire
from rlway_serve.scheduling.express import ExpressQueue


class Repeating(ExpressCall):
    """A connection that may be an express call."""

    __slots__ = ("_express", "_place", "arrived_s", "awaits_express", "deadline_s", "observations", "raw", "wire")

    def __init__(self) -> None:
        self.awaits_express = False  # whether an express call has neither an answer nor a place yet
        self.raw = False  # whether its body is octets
        self.wire: Wire | None = None  # None: the native one
        self.observations: Any = None
        self._express: ExpressQueue | None = None  # the queue that holds the call
        self._place: PlainCall | None = None  # the place of a call that got one after the batcher had decoded it

    # Each kind of connection implements these.

    @abstractmethod
    def send_at_once(self, response: Response) -> None:
        """Sends an answer; no other one is due before it."""

    @abstractmethod
    def submit_in_turn(self, body: Any) -> None:
        """Submits the request in the ordinary way, with a place among the answers."""

    @abstractmethod
    def new_place(self) -> PlainCall:
        """A place after the answers that are due."""

    # All connections share these.

    def submit_express(self, express: ExpressQueue, body: Any, arrived_s: float, raw: bool = False) -> bool:
        """Queues the connection if the body may be plain and there is room; returns whether it did."""
        self.arrived_s = arrived_s
        self.raw = raw
        if not (express.submit_octets(self, len(body)) if raw else express.submit(self, len(body))):
            return False
        self.awaits_express = True
        self.observations = body
        self._express = express
        return True

    def answer(self, response: Response) -> None:
        self.observations = self._express = None
        if self.awaits_express:
            self.awaits_express = False
            self.send_at_once(response)
        elif self._place is not None:
            place, self._place = self._place, None
            place.answer(response)

    def submit_again(self) -> None:
        body, self.observations = self.observations, None
        self.awaits_express, self._express = False, None
        self.submit_in_turn(body)

    def end_express(self) -> None:
        """Gives a waiting express call a place among the answers: before other bytes are read, and before the end."""
        if not self.awaits_express:
            return
        if self._express is not None and self._express.withdraw(self):
            self.submit_again()  # it is not decoded yet, and may begin the episode that the next request continues
        else:
            self.awaits_express, self._express = False, None
            self._place = self.new_place()
