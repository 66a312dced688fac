"""Everything that is imported from uvicorn's submodules. `server.py` also overrides methods of `uvicorn.Server`.

In:      requests of a connection that the FastAPI application answers.
Out:     their answers on the connection's transport, one after the other.

uvicorn documents none of these names. `tests/serve/transport/test_uvicorn.py` checks that they exist and do what is
needed here, and pyproject.toml bounds uvicorn's version.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

__all__ = ["STATUS_LINE", "AppRequests", "Config", "HoldingFlow", "ServerState", "get_remote_addr", "is_ssl"]

log = logging.getLogger("uvicorn.error")


class HoldingFlow(FlowControl):
    """uvicorn's flow control, but reading is not resumed while the connection holds bytes back."""

    holds = False

    def resume_reading(self) -> None:
        if not self.holds:
            super().resume_reading()


class AppHead(NamedTuple):
    """The first line and the headers of a request for the application."""

    method: bytes
    url: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    expects_continue: bool
    keep_alive: bool


class AppHost(Protocol):
    """What the application's requests need from their connection."""

    transport: asyncio.Transport
    flow: HoldingFlow
    client: tuple[str, int] | None
    scheme: str

    def may_start(self) -> bool:
        """Whether all answers before that to the application's next request are sent."""

    def on_app_answer(self, last: bool) -> None:
        """The application has answered a request; `last` if its answer says that the connection closes."""

    def close_when_done(self) -> None:
        """An answer says that the connection closes: no further request begins, and it closes once nothing is due."""


class AppRequests:
    """The application's requests on one connection: they run one at a time, in the order in which they came."""

    __slots__ = (
        "_app_state",
        "_body_began",
        "_body_bytes",
        "_config",
        "_head",
        "_host",
        "_max_body_bytes",
        "_newest",
        "_running",
        "_server_state",
        "_waiting",
        "reading",
        "unanswered",
    )

    def __init__(
        self, host: AppHost, config: Config, server_state: ServerState, app_state: dict[str, Any], max_body_bytes: int
    ) -> None:
        self._host = host
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._max_body_bytes = max_body_bytes
        self._head: AppHead | None = None  # of the newest request
        self._newest: RequestResponseCycle | None = None
        self._running: RequestResponseCycle | None = None
        self._waiting: deque[RequestResponseCycle] = deque()  # until those before them are answered
        self._body_began = False  # whether any of the newest request's body has arrived
        self._body_bytes = 0  # how much of that body has arrived
        self.unanswered = 0  # the number of requests that are not answered yet
        self.reading = False  # whether the newest request is still being read

    @property
    def answered_early(self) -> bool:
        """Whether the request that is being read is answered already."""
        return self.reading and self._newest is not None and self._newest.response_complete

    @property
    def exceeds_limit(self) -> bool:
        """Whether the request being read is answered already, and its body is larger than a body may be."""
        return self._body_bytes > self._max_body_bytes and self.answered_early

    def enter(self, head: AppHead) -> None:
        """Queues a request whose body is to follow. Raises httptools' error for a URL that cannot be parsed."""
        scope = self._new_scope(head)
        cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]  # a dict here, a TypedDict there
            transport=self._host.transport,
            flow=self._host.flow,
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=self._server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=head.http_version != "1.0" and head.keep_alive,
            on_response=self._on_response,
        )
        cycle.transport = CycleTransport(self._host, cycle)
        self._head, self._newest = head, cycle
        self._body_began, self._body_bytes = False, 0
        self.reading = True
        self._waiting.append(cycle)
        if self.unanswered:
            self._host.flow.pause_reading()
        self.unanswered += 1
        self.start_next()

    def _new_scope(self, head: AppHead) -> dict[str, Any]:
        """The connection scope of the ASGI specification 2.3 for HTTP."""
        url, root_path = httptools.parse_url(head.url), self._config.root_path
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.3"},
            "http_version": head.http_version,
            "server": get_local_addr(self._host.transport),
            "client": self._host.client,
            "scheme": self._host.scheme,
            "method": head.method.decode("ascii"),
            "root_path": root_path,
            "path": root_path + (unquote(path) if "%" in path else path),
            "raw_path": root_path.encode("ascii") + url.path,
            "query_string": url.query or b"",
            "headers": head.headers,
            "state": self._app_state.copy(),
        }

    def start_next(self) -> None:
        """Runs the application for the next request, if everything before it is answered."""
        if self._running is not None or not self._waiting or not self._host.may_start():
            return
        self._running = cycle = self._waiting.popleft()
        tasks = self._server_state.tasks
        task = asyncio.get_running_loop().create_task(cycle.run_asgi(self._run_app))
        task.add_done_callback(tasks.discard)
        tasks.add(task)

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_or_close(message: Any) -> None:
            if message["type"] == "http.response.start" and self._may_have_more(scope):
                message = message | {"headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._config.loaded_app(scope, receive, send_or_close)

    def _may_have_more(self, scope: Any) -> bool:
        """Whether the request of `scope` is answered before its end, and its body may be too large to be discarded."""
        if not self.reading or self._newest is None or self._head is None or self._newest.scope is not scope:
            return False
        if self._head.expects_continue and not self._body_began:
            return True  # the client may now send the body, or leave it out
        length = next((value.lstrip(b"0") for name, value in self._head.headers if name == b"content-length"), b"")
        size = self._body_bytes if not length else int(length) if len(length) < 19 else sys.maxsize
        return size > self._max_body_bytes

    def add_body(self, body: bytes) -> None:
        """Adds bytes to the body of the newest request."""
        assert self._newest is not None
        self._body_began = True
        self._body_bytes += len(body)
        if self._newest.response_complete:
            return
        self._newest.body += body
        if len(self._newest.body) > HIGH_WATER_LIMIT:
            self._host.flow.pause_reading()
        self._newest.message_event.set()

    def end_body(self) -> bool:
        """Ends the body of the newest request; returns whether another request may follow on this connection."""
        assert self._newest is not None
        self.reading = False
        if not self._newest.response_complete:
            self._newest.more_body = False
            self._newest.message_event.set()
        return self._newest.keep_alive

    def _on_response(self) -> None:
        cycle, self._running = self._running, None
        assert cycle is not None
        cycle.body = bytearray()  # an idle connection keeps nothing of a body that the application did not read
        self._server_state.total_requests += 1
        self.unanswered -= 1
        if not self._host.transport.is_closing():
            self._host.flow.resume_reading()
            self.start_next()
        self._host.on_app_answer(last=cycle is self._newest and self.answered_early and not cycle.keep_alive)

    def close_behind_newest(self) -> None:
        """Makes the answer to the newest request say that the connection closes."""
        if self._newest is not None:
            self._newest.keep_alive = False

    def give_up_reading(self) -> None:
        """Drops the request being read: it will never be whole."""
        if self.reading and self._newest is not None and not self._newest.response_complete:
            _disconnect(self._newest)
            if self._newest in self._waiting:
                self._waiting.remove(self._newest)
            self.unanswered -= 1
        self.reading = False

    def disconnect(self) -> None:
        """Tells the running request that the connection is lost; no further one starts."""
        self._waiting.clear()
        if self._running is not None:
            _disconnect(self._running)
        self._host.flow.resume_writing()  # wakes a request that waits to write, so that it finds itself disconnected


def _disconnect(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()


class CycleTransport(asyncio.Transport):
    """The transport that uvicorn writes an answer to. When uvicorn closes it, the connection decides when to close."""

    def __init__(self, host: AppHost, cycle: RequestResponseCycle) -> None:
        self._host = host
        self._cycle = cycle

    def write(self, data: Any) -> None:
        self._host.transport.write(data)

    def is_closing(self) -> bool:
        return self._host.transport.is_closing()

    def close(self) -> None:
        if self._cycle.response_complete:
            self._host.close_when_done()
        else:  # the application failed in the middle of its answer
            self._host.transport.close()
