"""The bodies of answers over REST.

In:      results by name; or an error.
Out:     `{"predictions": […]}`, `{"outputs": …}` or `{"error": "…"}`.

A single output stands for itself; several are named. Numbers that are not finite are written as NaN and Infinity, as
TensorFlow Serving writes them. Actions never hold one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.observation import all_finite
from rlway_serve.messages.response import JSON, Response, problem_response
from rlway_serve.protocols.tfs.errors import http_status

MAX_KNOWN = 1024  # answers of a discrete policy that are kept


def write_rows(results: Mapping[str, AnyArray]) -> Response:
    """An answer in row format."""
    columns = [array.tolist() for array in results.values()]
    rows = (
        columns[0]
        if len(columns) == 1
        else [dict(zip(results, row, strict=True)) for row in zip(*columns, strict=True)]
    )
    return _answer({"predictions": rows}, results)


def write_columns(results: Mapping[str, AnyArray]) -> Response:
    """An answer in column format."""
    columns = {name: array.tolist() for name, array in results.items()}
    return _answer({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}, results)


def refuse(error: RlwayError) -> Response:
    """The error as TensorFlow Serving writes it, with the headers that the native routes send."""
    # Python's json also writes half a surrogate pair that an error quotes.
    body = json.dumps({"error": str(error)}).encode()
    return Response(http_status(error), JSON, body, problem_response(error).headers)


def _answer(content: dict[str, Any], results: Mapping[str, AnyArray]) -> Response:
    finite = all(map(all_finite, results.values()))
    body = msgspec.json.encode(content) if finite else json.dumps(content, separators=(",", ":")).encode()
    return Response(200, JSON, body)


class PlainWire:
    """Writes the answers to plain requests of one version, in one of the two formats."""

    def __init__(self, key: str, discrete: bool) -> None:
        self._start = b'{"%s":[' % key.encode()
        self._discrete = discrete  # whether an action is one whole number
        self._known: dict[Any, Response] = {}  # by action

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        values = actions.tolist()
        if not self._discrete:
            return list(map(self._write, values))
        try:
            return list(map(self._known.__getitem__, values))
        except KeyError:
            return list(map(self._remember, values))

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # noqa: ARG002  # no place to say it
        return self.write_actions(action)[0]

    def refuse(self, error: RlwayError) -> Response:
        return refuse(error)

    def _write(self, action: Any) -> Response:
        return Response(200, JSON, self._start + msgspec.json.encode(action) + b"]}")

    def _remember(self, action: int) -> Response:
        response = self._known.get(action)
        if response is None:
            response = self._write(action)
            if len(self._known) < MAX_KNOWN:
                self._known[action] = response
        return response
