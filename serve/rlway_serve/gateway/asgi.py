"""Requests that reach the endpoint through the ASGI application: the native routes and those of other protocols.

In:      a request as Starlette gives it.
Out:     its body, its caller, its answer.
Refuses: a body that is too large (BodyTooLarge), or encoded (MediaTypeUnsupported).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse

from rlway_client.contract.errors import BodyTooLarge, MediaTypeUnsupported, RlwayError
from rlway_serve.gateway.body_budget import BodyReservation
from rlway_serve.messages.response import Response, new_internal_error, response_headers
from rlway_serve.telemetry.tracing import TRACE_HEADERS

log = logging.getLogger(__name__)


class FutureCaller:
    """A request of the application, which waits for its answer."""

    def __init__(self, request: Request) -> None:
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.peer = request.client.host if request.client else None
        self.trace_headers = tuple(header for header in request.headers.raw if header[0] in TRACE_HEADERS)

    @property
    def connection(self) -> FutureCaller:
        """Itself: each request of the application takes its own turn."""
        return self

    @property
    def abandoned(self) -> bool:
        return self.answered.done()

    def answer(self, response: Response) -> None:
        if not self.answered.done():  # it is done if the client has left
            self.answered.set_result(response)


def authorization_of(request: Request) -> bytes | None:
    """The `Authorization` header."""
    authorization = request.headers.get("authorization")
    return authorization.encode("latin-1") if authorization is not None else None


async def read_body(request: Request, max_bytes: int, hold: BodyReservation) -> bytes:
    """Reads the whole body; raises as soon as it is known to be too large."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise MediaTypeUnsupported(f"content-encoding: expected none, got {encoding[:40]}; send the body as it is.")
    declared = request.headers.get("content-length", "0").lstrip("0") or "0"
    too_large = BodyTooLarge(f"body: expected at most {max_bytes} bytes; send the observations in several requests.")
    if not declared.isdecimal() or len(declared) > 18 or int(declared) > max_bytes:
        raise too_large
    hold.grow_to(int(declared))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
        hold.grow_to(len(body))
    return bytes(body)


async def answer_in_words(
    request: Request, answer: Awaitable[HttpResponse], refuse: Callable[[RlwayError], Response]
) -> HttpResponse:
    """The answer, or the error in a protocol's own form."""
    try:
        return await answer
    except ClientDisconnect:
        return HttpResponse(status_code=499)  # for the access log; the client is gone
    except RlwayError as error:
        return to_http(refuse(error))
    except Exception as error:
        internal = new_internal_error()
        log.error("%s failed (request id %s)", request.url.path, internal.request_id, exc_info=error)
        return to_http(refuse(internal))


def to_http(response: Response) -> HttpResponse:
    """The answer as Starlette sends it."""
    answer = HttpResponse(response.body, response.status)
    answer.raw_headers = response_headers(response)
    return answer
