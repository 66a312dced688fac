"""Speaks each protocol of docs/protocols.md with the words of the page's own table.

In:      a running server; the cells of the table; inputs by name, with rows before their own dimensions; what to say
         besides, by the words of ROWS.
Out:     the results by name, as the protocol returned them.
Refuses: raises Refused where the server refuses, and AssertionError where that has another form than the protocol's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.docs.grpc_speakers import OipGrpc, OipStream, TfsGrpc
from tests.docs.words import DATATYPES, Arrays, Refused, Words
from tests.serve.protocols.openpi.packing import pack, unpack
from tests.servers import ANSWER_S, Answer, Server


def _key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class Openpi:
    """A WebSocket for each policy."""

    def __init__(self, server: Server, grpc_port: int, column: Mapping[str, str], key: str | None = None) -> None:  # noqa: ARG002
        self._server, self._key = server, key
        self._words = Words(column, "key")
        self._connections: dict[str, ClientConnection] = {}
        self._opened = ExitStack()

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        assert said.pop("octets", True)
        placed = self._words.place(said)
        message = inputs | placed["key"] | placed["input"]
        row = {
            name: value[0] if isinstance(value, np.ndarray) and len(value) == 1 else value
            for name, value in message.items()
        }
        if policy not in self._connections:
            self._connections[policy] = self._connect(policy)
        connection = self._connections[policy]
        connection.send(pack(row))
        answer = connection.recv(ANSWER_S)
        if isinstance(answer, str):
            raise Refused("text", answer)
        content = unpack(answer)
        assert content["actions"].shape[0] == 1  # the horizon
        return {"action": content["actions"], **content.get("outputs", {})}

    def _connect(self, policy: str) -> ClientConnection:
        url = f"ws://{self._server.host}:{self._server.port}/v1/policies/{policy}/openpi"
        try:
            opening = connect(url, open_timeout=ANSWER_S, compression=None, additional_headers=_key_header(self._key))
            connection: ClientConnection = self._opened.enter_context(opening)
        except InvalidStatus as refused:
            raise Refused(f"handshake {refused.response.status_code}", refused.response.body.decode()) from None
        greeting = connection.recv(ANSWER_S)
        assert isinstance(greeting, bytes)
        assert unpack(greeting)["policy"] == policy
        return connection

    def close(self) -> None:
        self._opened.close()


class Rest:
    """What the two protocols over HTTP share."""

    def __init__(self, server: Server, grpc_port: int, column: Mapping[str, str], key: str | None = None) -> None:  # noqa: ARG002
        self._server, self._key = server, key
        self._words = Words(column, self.default_place)

    default_place = "field"

    def post(self, path: str, body: Any, octets: bytes = b"") -> Answer:
        """The answer to JSON, with octets behind it."""
        text = json.dumps(body).encode()
        headers = _key_header(self._key)
        if octets:
            headers["Inference-Header-Content-Length"] = str(len(text))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(text) + len(octets)}\r\n{lines}\r\n"
        answer = self._server.ask(head.encode() + text + octets)
        if answer.status != 200:
            assert answer.json.keys() == {"error"}
            raise Refused(str(answer.status), answer.json["error"])
        return answer

    def close(self) -> None: ...


class OipRest(Rest):
    """The Open Inference Protocol, with tensors as JSON unless told otherwise."""

    default_place = "parameter"

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        version, outputs, octets = said.pop("version", None), said.pop("outputs", []), said.pop("octets", False)
        placed = self._words.place(said)
        tensors, data = [], []
        for name, value in (inputs | placed["input"]).items():
            tensor = {"name": name, "shape": value.shape, "datatype": DATATYPES[value.dtype.name]}
            if octets:
                data.append(value.tobytes())
                tensor["parameters"] = {"binary_data_size": len(data[-1])}
            else:
                tensor["data"] = value.tolist()
            tensors.append(tensor)
        body = {"inputs": tensors, "parameters": placed["parameter"], "outputs": [{"name": name} for name in outputs]}
        pinned = f"/versions/{version}" if version is not None else ""
        answer = self.post(f"/v2/models/{policy}{pinned}/infer", body, b"".join(data)).json
        return {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}


class TfsRest(Rest):
    """TensorFlow Serving, in column format."""

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        version, label, octets = said.pop("version", None), said.pop("label", None), said.pop("octets", False)
        placed = self._words.place(said)
        tensors = {name: value.tolist() for name, value in (inputs | placed["input"]).items()}
        if octets:
            tensors = {name: [{"b64": "AAAAAA=="}] for name in inputs}
        pinned = f"/versions/{version}" if version is not None else f"/labels/{label}" if label is not None else ""
        answer = self.post(f"/v1/models/{policy}{pinned}:predict", {"inputs": tensors, **placed["field"]}).json[
            "outputs"
        ]
        if isinstance(answer, dict):
            return {name: np.asarray(value) for name, value in answer.items()}
        (name,) = placed["field"].get("output_filter") or ["action"]
        return {name: np.asarray(answer)}


SPEAKERS: dict[str, tuple[type[Any], ...]] = {
    "openpi": (Openpi,),
    "OIP REST": (OipRest,),
    "OIP gRPC": (OipGrpc, OipStream),
    "TFS REST": (TfsRest,),
    "TFS gRPC": (TfsGrpc,),
}
