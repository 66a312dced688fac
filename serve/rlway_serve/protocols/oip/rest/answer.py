"""Writes the answers to infer requests over REST.

In:      results by name, the outputs to send, which of them are wanted as octets; an error.
Out:     `Response`: JSON, with octets behind it if any output is wanted so; `{"error": …}`.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import NO_VIOLATIONS, Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_serve.messages.response import JSON, OCTETS, Response, problem_response
from rlway_serve.protocols.oip.datatypes import NAMES
from rlway_serve.protocols.oip.guarded import GUARDED, in_words

JSON_LENGTH = b"inference-header-content-length"


def refuse(error: RlwayError, further: dict[str, Any] | None = None) -> Response:
    """The error as `{"error": sentence}`, with its own status and the headers that it calls for."""
    return error_response(error.http, str(error), problem_response(error).headers, further)


def error_response(
    status: int,
    sentence: str,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    further: dict[str, Any] | None = None,
) -> Response:
    """`{"error": sentence}` with any status; tritonclient wants this key in every answer that is not 200."""
    text = sentence.encode("utf-8", "replace").decode()  # the sentence may quote half a surrogate pair
    return Response(status, JSON, msgspec.json.encode({"error": text} | (further or {})), headers)


class RestAnswers:
    """The writer for one version of a policy."""

    def __init__(self, manifest: Manifest) -> None:
        self._model = {"model_name": manifest.policy, "model_version": str(manifest.version)}
        self._specs = {spec.name: spec for spec in manifest.interface.results}

    def write(
        self,
        results: Arrays,
        names: Sequence[str],
        binary: Callable[[str], bool],
        request_id: str | None = None,
        violated: Violations = NO_VIOLATIONS,
    ) -> Response:
        """The answer with these outputs, in this order; `binary` says which are wanted as octets.

        An action that the guard has changed has the rules that it violated in its parameter `guarded`.
        """
        answer: dict[str, Any] = {**self._model}
        if request_id is not None:
            answer["id"] = request_id
        outputs: list[dict[str, Any]] = []
        octets: list[bytes] = []
        for name in names:
            spec, array = self._specs[name], results[name]
            output: dict[str, Any] = {"name": name, "datatype": NAMES[spec.dtype], "shape": array.shape}
            parameters: dict[str, Any] = {GUARDED: in_words(violated[name])} if name in violated else {}
            if binary(name):
                octets.append(np.ascontiguousarray(array, spec.numpy_dtype).tobytes())
                parameters["binary_data_size"] = len(octets[-1])
            if parameters:
                output["parameters"] = parameters
            if not binary(name):
                output["data"] = array.ravel().tolist()
            outputs.append(output)
        answer["outputs"] = outputs
        text = msgspec.json.encode(answer)
        if not octets:
            return Response(200, JSON, text)
        return Response(200, OCTETS, b"".join((text, *octets)), ((JSON_LENGTH, str(len(text)).encode()),))
