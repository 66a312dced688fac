"""Writes the answer to an act request.

In:      a call, and its rows of the runtime's outputs.
Out:     a `Response`: JSON as it was asked (`action` or `actions`), or the action's raw little-endian bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from rlway_client.manifest import Manifest
from rlway_client.specs import AnyArray
from rlway_serve.call import Call
from rlway_serve.response import JSON, OCTETS, Response

MAX_PREPARED_ACTIONS = 1024


class ActEncoder:
    """The writer for one policy."""

    def __init__(self, manifest: Manifest) -> None:
        self._version = manifest.version
        self._version_header = ((b"rlway-version", str(manifest.version).encode()),)
        self._dtype = manifest.action.numpy_dtype
        self._prepared = self._prepare(manifest)

    def encode_single(self, action: Any) -> Response:
        """The answer to one observation without further outputs; `action` as Python numbers."""
        if self._prepared:
            ready = self._prepared.get(action)
            if ready is not None:
                return ready
        return Response(200, JSON, msgspec.json.encode({"action": action, "version": self._version}))

    def encode(self, call: Call, actions: AnyArray, outputs: Mapping[str, AnyArray]) -> Response:
        """The answer to any call; `actions` and `outputs` hold the call's rows only."""
        if call.raw:
            return Response(200, OCTETS, np.ascontiguousarray(actions, self._dtype).tobytes(), self._version_header)
        if call.batched:
            answer = {"actions": actions.tolist(), "version": self._version}
            further = {name: values.tolist() for name, values in outputs.items()}
        else:
            answer = {"action": actions[0].tolist(), "version": self._version}
            further = {name: values[0].tolist() for name, values in outputs.items()}
        if further:
            answer["outputs"] = further
        return Response(200, JSON, msgspec.json.encode(answer))

    def _prepare(self, manifest: Manifest) -> dict[int, Response]:
        """Every possible answer of a small discrete policy, written once."""
        spec = manifest.action
        if not spec.is_discrete or spec.shape:
            return {}
        low, high = (float(bound) for bound in spec.bounds())
        if not 0 <= high - low < MAX_PREPARED_ACTIONS:
            return {}
        return {
            action: Response(200, JSON, msgspec.json.encode({"action": action, "version": self._version}))
            for action in range(int(low), int(high) + 1)
        }
