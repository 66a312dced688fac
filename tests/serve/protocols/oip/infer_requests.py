"""Infer requests as bytes, as any client might send them.

In:      inputs, outputs, parameters; tensors behind the JSON.
Out:     a body and its headers; a whole HTTP request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_serve.protocols.oip.datatypes import NAMES
from tests.servers import act_request

INFER = "/v2/models/linear/infer"
ROW = [0.5, -1.0, 2.0, 0.25]
ACTION = 0  # of `linear_policy` for ROW


class Infer(NamedTuple):
    """The body of a request, and how many of its bytes are JSON; None: the header is not sent."""

    body: bytes
    json_bytes: int | str | None = None

    def request(self, path: str = INFER, lane: str = "hot") -> bytes:
        headers = [] if self.json_bytes is None else [f"Inference-Header-Content-Length: {self.json_bytes}"]
        return act_request(self.body, lane=lane, path=path, headers=headers)


def tensor(name: str = "observation", array: Any = (ROW,), dtype: str = "float32", **changes: Any) -> dict[str, Any]:
    """One of `inputs`, with flat data; a change to None removes a field."""
    values = np.asarray(array, dtype)
    fields = {"name": name, "shape": [*values.shape], "datatype": NAMES[dtype], "data": values.ravel().tolist()}
    return {field: value for field, value in (fields | changes).items() if value is not None}


def in_json(*inputs: dict[str, Any], **fields: Any) -> Infer:
    """A request whose data are all in the JSON."""
    return Infer(json.dumps({"inputs": [*inputs]} | fields).encode())


def in_octets(arrays: dict[str, AnyArray], more: Sequence[dict[str, Any]] = (), **fields: Any) -> Infer:
    """A request with these arrays behind the JSON; `more` inputs have their data in it."""
    inputs = [
        tensor(name, array, array.dtype.name, data=None, parameters={"binary_data_size": array.nbytes})
        for name, array in arrays.items()
    ]
    text = json.dumps({"inputs": [*inputs, *more]} | fields).encode()
    return Infer(text + b"".join(array.tobytes() for array in arrays.values()), len(text))
