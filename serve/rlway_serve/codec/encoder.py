"""Writes the answers to act requests.

In:      calls, and the runtime's outputs for all of their rows; what the policy's guard made of their actions.
Out:     a `Response` to each: JSON as it was asked (`action` or `actions`), the action's raw little-endian bytes, or
         what the reply of another protocol writes. Where the guard changed an action, JSON has `guarded`, and octets
         have the header `rlway-guarded`: the violated rules by action tensor.
Refuses: ActionRefused for a call with an action that the guard refuses; InternalError for a call whose reply fails.
         The others are answered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.guard import NO_VIOLATIONS, Violations
from rlway_client.contract.guarding import Guarded
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.action import ActionForm, few_actions
from rlway_serve.messages.call import AnyCall
from rlway_serve.messages.response import JSON, OCTETS, Response, new_internal_error
from rlway_serve.messages.wire import Reply

log = logging.getLogger(__name__)

VERSION = b"rlway-version"  # of octets, the header with what JSON has as `version`
GUARDED = b"rlway-guarded"  # of octets, the header with what JSON has as `guarded`; of several rows together


class ActEncoder:
    """The writer for one policy."""

    def __init__(self, manifest: Manifest) -> None:
        self._version = manifest.version
        self._version_header = ((VERSION, str(manifest.version).encode()),)
        self._form = ActionForm(manifest.actions)
        self._dtype = manifest.actions[0].numpy_dtype  # for policies with one action tensor
        # Every possible answer of a small discrete policy, encoded once.
        few = few_actions(manifest.actions[0]) if self._form.plain else range(0)
        self._prepared = {action: self._json(action) for action in few}
        self._prepared_raw = {action: self._raw(np.array(action, self._dtype).tobytes()) for action in few}

    def encode_plain(self, actions: AnyArray) -> list[Response]:
        """The answers to calls of one observation each, without further outputs, of a policy with a plain action."""
        values = actions.tolist()
        if self._prepared:
            try:
                return list(map(self._prepared.__getitem__, values))
            except KeyError:
                pass
        return [self._json(action) for action in values]

    def encode_raw(self, actions: AnyArray) -> list[Response]:
        """As `encode_plain`, for raw calls."""
        if self._prepared_raw:
            try:
                return list(map(self._prepared_raw.__getitem__, actions.tolist()))
            except KeyError:
                pass
        octets = np.ascontiguousarray(actions, self._dtype).tobytes()
        size = len(octets) // len(actions)
        return [self._raw(octets[start : start + size]) for start in range(0, len(octets), size)]

    def encode_guarded(self, action: AnyArray, raw: bool, violated: Violations) -> Response:  # action [1, *shape]
        """The answer to a plain call whose action the guard has changed."""
        if raw:
            return self._raw(np.ascontiguousarray(action, self._dtype).tobytes(), violated)
        answer = {"action": action[0].tolist(), "version": self._version, "guarded": violated}
        return Response(200, JSON, msgspec.json.encode(answer))

    def encode(
        self, batch: Sequence[AnyCall], results: Mapping[str, AnyArray], guarded: Guarded | None = None
    ) -> list[Response]:
        """The answers to any calls; `results` holds the rows of all of them, by name."""
        rows: list[Any] = []
        octets = b""  # both are made for all calls at once, when the first call needs them
        responses = []
        start = 0
        for call in batch:
            end = start + call.rows
            refusal, violated = None, NO_VIOLATIONS
            if guarded is not None and guarded.levels[start:end].any():
                refusal, violated = guarded.refusal(start, end), guarded.rules(start, end)
            if refusal is not None:
                responses.append(call.refusal(refusal))
            elif call.reply is not None:
                names = (*self._form.names, *call.outputs)
                parts = {name: results[name][start:end] for name in names}
                responses.append(_write(call, call.reply, parts, violated))
            elif call.raw:
                octets = octets or self._form.octets(results)
                size = self._form.row_bytes
                responses.append(self._raw(octets[start * size : end * size], violated))
            else:
                rows = rows or self._form.rows(results)
                outputs = {name: results[name][start:end].tolist() for name in call.outputs}
                answer = self._answer(call.batched, rows[start:end], outputs)
                if guarded is not None and violated:
                    rules = [guarded.rules(row, row + 1) for row in range(start, end)]
                    answer["guarded"] = rules if call.batched else violated
                responses.append(Response(200, JSON, msgspec.json.encode(answer)))
            start = end
        return responses

    def _answer(self, batched: bool, rows: list[Any], outputs: dict[str, list[Any]]) -> dict[str, Any]:
        answer: dict[str, Any]
        if batched:
            answer = {"actions": rows, "version": self._version}
        else:
            answer = {"action": rows[0], "version": self._version}
            outputs = {name: values[0] for name, values in outputs.items()}
        if outputs:
            answer["outputs"] = outputs
        return answer

    def _json(self, action: Any) -> Response:
        return Response(200, JSON, msgspec.json.encode({"action": action, "version": self._version}))

    def _raw(self, octets: bytes, violated: Violations = NO_VIOLATIONS) -> Response:
        told = ((GUARDED, json.dumps(violated).encode()),) if violated else ()  # in ASCII, as a header has to be
        return Response(200, OCTETS, octets, self._version_header + told)


def _write(call: AnyCall, reply: Reply, results: Arrays, violated: Violations) -> Response:
    try:
        return reply.write(results, violated)
    except Exception as error:
        internal = new_internal_error()
        log.error("an answer cannot be written (request id %s)", internal.request_id, exc_info=error)
        return call.refusal(internal)
