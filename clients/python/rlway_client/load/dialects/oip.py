"""The Open Inference Protocol v2 over HTTP: JSON, or octets behind a short JSON (the binary extension).

In:      observations.
Out:     infer requests; the action in an answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import DTYPES, AnyArray
from rlway_client.load.asker import Asker, Episode, Listener, Unreadable
from rlway_client.load.dialects.native import JSON, field, read_json
from rlway_client.load.http_asker import connect_http
from rlway_client.load.target import Target

_FLOATS = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
DATATYPES = {dtype: _FLOATS.get(dtype, dtype.upper()) for dtype in DTYPES}  # by numpy's name
DTYPE_OF = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in DATATYPES.items()}
LENGTH_HEADER = "inference-header-content-length"


class Oip:
    """`POST /v2/models/{policy}/infer`. A policy with state is told the sequence."""

    def __init__(self, target: Target, binary: bool) -> None:
        self.names_episodes = target.in_episodes
        self.count = target.observations
        self._target = target
        self._binary = binary
        self._path = f"/v2/models/{target.quoted_name}/infer"

    def request(self, place: int, episode: Episode | None) -> bytes:
        tensors = self._target.tensors(place)
        parameters: dict[str, Any] = {"binary_data_output": True} if self._binary else {}
        if episode is not None:
            parameters |= {"sequence_id": episode.name, "sequence_start": episode.first}
        content: dict[str, Any] = {"parameters": parameters} if parameters else {}
        content["inputs"] = [self._input(name, array) for name, array in tensors.items()]
        text = msgspec.json.encode(content)
        address, key = self._target.address, self._target.key
        if not self._binary:
            return address.request("POST", self._path, text, JSON, key)
        body = text + b"".join(array.tobytes() for array in tensors.values())
        request = address.request("POST", self._path, body, "application/octet-stream", key)
        head, _, rest = request.partition(b"\r\n\r\n")
        return head + f"\r\n{LENGTH_HEADER}: {len(text)}\r\n\r\n".encode() + rest

    def _input(self, name: str, array: AnyArray) -> dict[str, Any]:
        described = {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype.name]}
        if self._binary:
            return described | {"parameters": {"binary_data_size": array.nbytes}}
        return described | {"data": array.ravel().tolist()}

    async def connect(self, listener: Listener) -> Asker:
        return await connect_http(self._target.address, listener)

    def read(self, answer: bytes) -> Arrays:
        text, octets = answer, b""
        if self._binary:
            # The header with the JSON's length is not kept; the JSON ends where its braces do.
            end = _end_of_object(answer)
            text, octets = answer[:end], answer[end:]
        found: Arrays = {}
        start = 0
        for output in field(read_json(text), "outputs"):
            dtype, shape = DTYPE_OF.get(field(output, "datatype")), field(output, "shape")
            if dtype is None:
                raise Unreadable(f"{field(output, 'name')}: an unknown datatype")
            size = output.get("parameters", {}).get("binary_data_size")
            try:
                if size is None:
                    array = np.asarray(field(output, "data")).reshape(shape)
                else:
                    array = np.frombuffer(octets, dtype, math.prod(shape), start).reshape(shape)
                    start += size
            except ValueError as error:
                raise Unreadable(f"{field(output, 'name')}: {error}") from None
            found[field(output, "name")] = row_of(array)
        return found


def row_of(array: AnyArray) -> AnyArray:
    """The only row of a batch. Raises Unreadable."""
    if not array.ndim or len(array) != 1:
        raise Unreadable(f"expected one row, got the shape {list(array.shape)}")
    row: AnyArray = array[0]
    return row


def _end_of_object(content: bytes) -> int:
    """Where the JSON object ends with which the bytes begin."""
    depth, in_text, escaped = 0, False, False
    for place, letter in enumerate(content):
        if in_text:
            in_text = escaped or letter != ord('"')
            escaped = letter == ord("\\") and not escaped
        elif letter == ord('"'):
            in_text = True
        elif letter == ord("{"):
            depth += 1
        elif letter == ord("}"):
            depth -= 1
            if not depth:
                return place + 1
    raise Unreadable("expected JSON before the octets")
