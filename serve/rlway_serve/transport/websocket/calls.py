"""The frames of WebSockets as calls, and what the WebSockets of a server share."""

from __future__ import annotations

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.messages.call import PlainCall, TraceHeaders
from rlway_serve.messages.response import Response, read_request_id
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

    @property
    def may_be_express(self) -> bool:
        """Whether messages may be express calls: not where each has to be looked at."""
        endpoint = self.endpoint
        looked_at = endpoint.sees_every_request or endpoint.keys.needed or endpoint.rates is not None
        return not looked_at and self.access_log is None


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


def find_request_id(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The request id of a handshake, if it has one that may be repeated in logs."""
    return read_request_id(next((value for name, value in headers if name == b"x-request-id"), b""))
