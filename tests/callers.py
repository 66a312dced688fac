"""A caller for tests of what is inside a server: it keeps the answers that it is given, or passes them on."""

from __future__ import annotations

from collections.abc import Callable

from rlway_serve.messages.call import TraceHeaders
from rlway_serve.messages.response import Response


class Receiving:
    """Each is a connection of its own, unless told which it is."""

    def __init__(
        self,
        on_answer: Callable[[Response], None] | None = None,
        connection: object = None,
        abandoned: bool = False,
    ) -> None:
        self.connection = self if connection is None else connection
        self.abandoned = abandoned
        self.peer: str | None = None
        self.trace_headers: TraceHeaders = ()
        self.responses: list[Response] = []
        self._on_answer = on_answer or self.responses.append

    def answer(self, response: Response) -> None:
        self._on_answer(response)
