"""The middleware around the FastAPI application: request ids and the access log.

In:      an ASGI application.
Out:     an ASGI application whose answers carry the caller's request id, and leave a line in the access log.
"""

from __future__ import annotations

import time
from typing import Any

from rlway_serve.messages.response import read_request_id
from rlway_serve.telemetry.access_log import AccessLog


class Middleware:
    """Wraps the whole application, so that it also sees the answers of the error handlers."""

    def __init__(self, app: Any, access_log: AccessLog | None) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request_id, body_bytes = b"", None
        for name, value in scope.get("headers", ()):
            if name == b"x-request-id":
                request_id = request_id or read_request_id(value)
            elif name == b"content-length":
                body_bytes = int(value) if len(value) < 19 else None
        if scope["type"] != "http" or not (request_id or self._access_log):
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        query = b"?" + scope["query_string"] if scope["query_string"] else b""

        async def send_with_request_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                length = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
                if scope["method"] == "HEAD":
                    length = 0  # the header has the length of GET's body
                if request_id:
                    message = message | {"headers": [*headers, (b"x-request-id", request_id)]}
                if self._access_log:
                    asked = (scope["client"], scope["method"], scope["raw_path"] + query, message["status"])
                    self._access_log.write(*asked, body_bytes, length, began_s, request_id)
            await send(message)

        await self._app(scope, receive, send_with_request_id)
