"""The frames of WebSockets as calls, and what the WebSockets of a server share."""

from __future__ import annotations

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.messages.call import PlainCall, TraceHeaders
from rlway_serve.messages.response import Response
from rlway_serve.settings import Settings
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.telemetry.streams import StreamCounts


class SharedByStreams:
    """What the WebSockets of a server share."""

    def __init__(self, endpoint: Endpoint, settings: Settings, access_log: AccessLog | None = None) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.access_log = access_log
        self.counts = StreamCounts()


class FrameCall(PlainCall, gc=False, eq=False):
    """The place of one frame among its connection's answers."""

    response: Response | None = None

    @property
    def trace_headers(self) -> TraceHeaders:
        headers: TraceHeaders = self.connection.trace_headers
        return headers

    def answer(self, response: Response) -> None:
        self.response = response
        self.connection.send_ready()


class LoggedFrameCall(FrameCall, gc=False, eq=False):
    """A `FrameCall` that also writes a line to the access log."""

    method: str = ""  # the kind of frame: TEXT or BINARY
    request_bytes: int = 0  # of the frame's payload

    def answer(self, response: Response) -> None:
        self.connection.log(self.method, response.status, self.request_bytes, len(response.body), self.arrived_s)
        super().answer(response)
