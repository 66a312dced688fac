"""Asks what listens on a port whether it is an RLway server, and how it is.

In:      a host and a port; an API key.
Out:     what an RLway server says of itself; None if it is none, or does not answer within ANSWER_S.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from rlway_client.contract.errors import KeyMissing, KeyRefused, RlwayError
from rlway_client.remote.http import Address, Answer, AnswerReader

ANSWER_S = 3.0  # for everything that is asked
MOST_BYTES = 4 * 1024 * 1024
WORDS = ("ready", "loading", "stopping")  # of /readyz


class Asked(NamedTuple):
    """What the server says: whether it is ready, and its policies with the active version of each."""

    ready: bool
    status: str
    policies: list[str]
    key_needed: bool


def ask_server(host: str, port: int, key: str | None = None) -> Asked | None:
    """Asks for /readyz and /v1/policies."""
    address = Address(host, port, None, "")
    deadline = time.monotonic() + ANSWER_S
    with suppress(OSError, RlwayError, msgspec.DecodeError, KeyError, TypeError):
        word = _json(_get(address, "/readyz", None, deadline))["status"]
        if word not in WORDS:
            return None
        answer = _get(address, "/v1/policies", None, deadline)
        if answer.status == KeyMissing.http and key is not None:  # only a server that asks for a key is shown one
            answer = _get(address, "/v1/policies", key, deadline)
        if answer.status in (KeyMissing.http, KeyRefused.http):
            return Asked(word == "ready", word, [], key_needed=True)
        policies = [_shown(policy) for policy in _json(answer)["policies"]]
        return Asked(word == "ready", word, policies, key_needed=False)
    return None


def _shown(policy: dict[str, Any]) -> str:
    version = policy["version"]
    return f"{policy['name']} v{version}" if version is not None else f"{policy['name']} without a version"


def _json(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


def _get(address: Address, path: str, key: str | None, deadline: float) -> Answer:
    """One answer over a connection of its own. Raises OSError where it does not come in time."""
    reader, received = AnswerReader(), 0
    with socket.create_connection((address.host, address.port), _left(deadline)) as connection:
        connection.sendall(address.request("GET", path, key=key))
        while reader.answer is None:
            connection.settimeout(_left(deadline))
            data = connection.recv(65536)
            received += len(data)
            if not data or received > MOST_BYTES:
                raise ConnectionError("no whole answer")
            reader.feed(data)
    return reader.answer


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
