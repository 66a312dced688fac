"""RLway's own protocol: JSON over HTTP, and raw rows over a WebSocket.

In:      observations.
Out:     act requests; the action in an answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.nesting import grow, leaves
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.load.asker import Asker, Episode, Fault, Listener, Unreadable, quoted
from rlway_client.load.http_asker import connect_http
from rlway_client.load.observations import nested_rows
from rlway_client.load.target import Target
from rlway_client.load.websocket_asker import BINARY, connect_websocket, frame
from rlway_client.remote.messages import encode_act
from rlway_client.remote.routes import act_path

JSON = "application/json"


class Native:
    """`POST /v1/policies/{policy}/act` with JSON. A policy with state is told the episode."""

    def __init__(self, target: Target) -> None:
        self.names_episodes = target.in_episodes
        self.count = target.observations
        self._target = target
        self._path = act_path(target.policy)
        rows = nested_rows(target.columns, target.manifest.observation)
        self._bodies = [encode_act(row, batched=False) for row in rows]

    def request(self, place: int, episode: Episode | None) -> bytes:
        body = self._bodies[place]
        if episode is not None:
            body = with_fields(body, {"episode": episode.name, "first": episode.first})
        return self._target.address.request("POST", self._path, body, JSON, self._target.key)

    async def connect(self, listener: Listener) -> Asker:
        return await connect_http(self._target.address, listener)

    def read(self, answer: bytes) -> Arrays:
        action = field(read_json(answer), "action")
        return read_nested(action, self._target.manifest.actions)


class Stream:
    """`/v1/policies/{policy}/stream` with raw rows. A connection is an episode."""

    names_episodes = False

    def __init__(self, target: Target) -> None:
        self.count = target.observations
        self._target = target

    def request(self, place: int, episode: Episode | None) -> bytes:  # noqa: ARG002
        columns = self._target.columns
        specs = self._target.manifest.observation
        return frame(BINARY, b"".join(columns[spec.name][place].tobytes() for spec in specs))

    async def connect(self, listener: Listener) -> Asker:
        key = self._target.key
        path = f"/v1/policies/{self._target.quoted_name}/stream"
        return await connect_websocket(self._target.address, path, key and f"Bearer {key}", listener, judge)

    def read(self, answer: bytes) -> Arrays:
        specs = self._target.manifest.actions
        expected = sum(spec.row_bytes for spec in specs)
        if len(answer) != expected:
            raise Unreadable(f"expected {expected} bytes, got {len(answer)}")
        found: Arrays = {}
        start = 0
        for spec in specs:
            found[spec.name] = np.frombuffer(answer, spec.numpy_dtype, spec.size, start).reshape(spec.shape)
            start += spec.row_bytes
        return found


def judge(opcode: int, payload: bytes) -> Fault | None:
    """A text frame where binary ones are due is a refusal, in this protocol and in openpi's."""
    return None if opcode == BINARY else Fault("refused in a text frame", quoted(payload))


def with_fields(body: bytes, fields: dict[str, Any]) -> bytes:
    """A JSON object with further fields."""
    return body[:-1] + b"," + msgspec.json.encode(fields)[1:]


def read_json(answer: bytes) -> Any:
    """Raises Unreadable for anything but JSON."""
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(f"expected JSON, got {quoted(answer)}") from None


def field(content: Any, name: str) -> Any:
    """A field of an object. Raises Unreadable where it is missing."""
    if not isinstance(content, dict) or name not in content:
        raise Unreadable(f"expected an object with `{name}`")
    return content[name]


def read_nested(action: Any, specs: Iterable[TensorSpec]) -> Arrays:
    """The tensors of an action that is nested as the policy's action is. Raises Unreadable."""
    try:
        parts = [(spec.name, part) for spec, part, _ in leaves(action, grow([*specs]), "action")]
        return {name: np.asarray(part) for name, part in parts}
    except (SpecViolated, ValueError) as error:
        raise Unreadable(str(error)) from None
