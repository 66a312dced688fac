"""Writes openpi's answers: `{"actions": array, "version": number}`, and errors as text.

In:      the actions of plain requests; or all results of one request, by name; an error.
Out:     `Response`s. Their body is a binary frame if the status is 200, else the text of a frame.
Refuses: nothing.

The first axis of every array is the action horizon, which is 1: `actions` has the shape [1, …], and [1] for an action
that is one number. Actions in several tensors are a map, nested as in the manifest. Outputs that a request names are in
a map of their own, `outputs`. Where the policy's guard changed the action, `guarded` maps each action tensor to the
rules that it violated.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError, SpecViolated
from rlway_client.contract.guard import Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.nesting import grow, nest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, Fault
from rlway_serve.codec.action import few_actions
from rlway_serve.messages.response import Response
from rlway_serve.protocols.openpi.messages import write_message

MSGPACK = b"application/vnd.msgpack"
TEXT = b"text/plain; charset=utf-8"
ACTION_HORIZON = 1  # actions in one answer
DATA_KEY = write_message(b"data")
ROW = re.compile(r"^([^\[]*)\[0\]")


def refuse(error: RlwayError) -> Response:
    """The sentence of an error, at which openpi's client raises."""
    return Response(error.http, TEXT, str(error).encode("utf-8", "replace"))


class OpenpiWire:
    """Writes the answers to plain requests of one version, whose action is a single tensor."""

    def __init__(self, manifest: Manifest) -> None:
        spec = manifest.actions[0]
        self._manifest, self._action = manifest, spec.name
        self._dtype = spec.numpy_dtype
        self._row_bytes = spec.row_bytes
        blank: AnyArray = np.zeros((ACTION_HORIZON, *spec.shape), self._dtype)
        message = write_message({"actions": blank, "version": manifest.version})
        # An answer differs from this one only in the bytes of its action, which end before the array's dtype.
        start = message.index(DATA_KEY) + len(DATA_KEY) + len(write_message(blank.tobytes())) - self._row_bytes
        self._head, self._tail = message[:start], message[start + self._row_bytes :]
        # Every possible answer of a small discrete policy, written once.
        self._prepared = {action: self._response(self._octets(action)) for action in few_actions(spec)}

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        if self._prepared:
            try:
                return list(map(self._prepared.__getitem__, actions.tolist()))
            except KeyError:
                pass
        octets, size = self._octets(actions), self._row_bytes
        return [self._response(octets[start : start + size]) for start in range(0, len(octets), size)]

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # action [1, *shape]
        return write_results(self._manifest, {self._action: action}, None, violated)

    def refuse(self, error: RlwayError) -> Response:
        if isinstance(error, SpecViolated):  # its paths name the row of a batch, and no message holds several
            error = SpecViolated([Fault(ROW.sub(r"\1", f.path, 1), f.expected, f.got) for f in error.faults])
        return refuse(error)

    def _octets(self, actions: Any) -> bytes:
        return np.ascontiguousarray(actions, self._dtype).tobytes()

    def _response(self, octets: bytes) -> Response:
        return Response(200, MSGPACK, self._head + octets + self._tail)


def write_results(manifest: Manifest, results: Arrays, infer_ms: float | None, violated: Violations) -> Response:
    """The answer to one request of any kind; `infer_ms` is None unless it asks for its time."""
    specs = {spec.name: spec for spec in manifest.interface.results}
    arrays = {name: np.ascontiguousarray(array, specs[name].numpy_dtype) for name, array in results.items()}
    actions = {spec.name: arrays.pop(spec.name) for spec in manifest.actions}
    answer = {"actions": nest(actions, grow(manifest.actions)), "version": manifest.version}
    if arrays:
        answer["outputs"] = arrays
    if violated:
        answer["guarded"] = violated
    if infer_ms is not None:
        answer["server_timing"] = {"infer_ms": infer_ms}
    return Response(200, MSGPACK, write_message(answer))
