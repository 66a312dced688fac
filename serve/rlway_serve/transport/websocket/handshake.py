"""Answers the handshake of a WebSocket (RFC 6455): accepts or refuses the caller.

In:      the first line and the headers of a request that offers WebSocket, as the HTTP parser read them.
Out:     an answer: 101, or the problem that refuses it.
Refuses: callers without a key (KeyMissing, KeyRefused), pages of another origin (KeyRefused), and whom `admit` refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from rlway_client.contract.errors import KeyRefused, RlwayError
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.messages.response import Response, problem_response, response_headers
from rlway_serve.transport.http_writer import DefaultHeaders


def answer_handshake(
    protocol: ServerProtocol,
    url: bytes,
    headers: list[tuple[bytes, bytes]],
    keys: Keys,
    cors_origins: tuple[str, ...],
    default_headers: DefaultHeaders,
    admit: Callable[[], object],
) -> Any:
    """The answer, which is given to `protocol` to send; None if `protocol` cannot read the request."""
    lines = [b"GET " + url + b" HTTP/1.1", *(name + b": " + value for name, value in headers), b"", b""]
    protocol.receive_data(b"\r\n".join(lines))
    request = next(iter(protocol.events_received()), None)
    if not isinstance(request, Request):
        return None
    try:
        keys.check(next((value for name, value in headers if name == b"authorization"), None))
        check_origin(request.headers, cors_origins)
        admit()
        answer = protocol.accept(request)
    except RlwayError as error:
        answer = _refuse(protocol, problem_response(error))
    for name, value in default_headers:
        name_text = name.decode("latin-1")
        if name_text not in answer.headers:
            answer.headers[name_text] = value.decode("latin-1")
    protocol.send_response(answer)
    return answer


def _refuse(protocol: ServerProtocol, response: Response) -> Any:
    answer = protocol.reject(response.status, response.body.decode())
    for name, value in response_headers(response):
        name_text = name.decode("latin-1")
        if name_text in answer.headers:
            del answer.headers[name_text]
        answer.headers[name_text] = value.decode("latin-1")
    return answer


def check_origin(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Raises for pages of other origins than this server's and the allowed ones.

    Browsers let any page open a WebSocket to any server; only the `Origin` header says which page it is.
    """
    origins = headers.get_all("origin")
    host = headers.get("host", "")
    own = {f"http://{host}", f"https://{host}"}
    if origins and "*" not in allowed and not all(origin in own or origin in allowed for origin in origins):
        raise KeyRefused(f"origin: pages of {origins[0][:100]} may not ask here; --cors-origin names those that may.")
