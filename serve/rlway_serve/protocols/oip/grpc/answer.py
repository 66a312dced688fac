"""Writes the answers to ModelInfer requests over gRPC.

In:      results by name, the outputs to send; or the actions of plain requests.
Out:     `Response`s with the octets of a `ModelInferResponse`, or of a `ModelStreamInferResponse` around it.
Refuses: nothing.

The octets of an answer to a plain request are put together without a message: before the action, they are the same in
every answer, and an id follows behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import NO_VIOLATIONS, Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.protos.inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from rlway_serve.messages.response import GrpcRefusal, Response
from rlway_serve.protocols.oip.datatypes import NAMES
from rlway_serve.protocols.oip.grpc.request import CONTENTS
from rlway_serve.protocols.oip.guarded import GUARDED, in_words

MAX_PREPARED_ACTIONS = 1024
MEDIA_TYPE = b"application/grpc"
INFER_RESPONSE = b"\x12"  # the tags of fields whose value has a length: `infer_response`, `id`, `raw_output_contents`
ID = b"\x1a"
RAW_OUTPUT = b"\x32"


def write_answer(
    manifest: Manifest,
    results: Arrays,
    names: Sequence[str],
    raw: bool,
    request_id: str,
    violated: Violations = NO_VIOLATIONS,
) -> ModelInferResponse:
    """The answer with these outputs, in this order. FP16 has only raw contents, and no answer mixes the two.

    An action that the guard has changed has the rules that it violated in its parameter `guarded`.
    """
    specs = {spec.name: spec for spec in manifest.interface.results}
    raw = raw or any(NAMES[specs[name].dtype] not in CONTENTS for name in names)
    answer = ModelInferResponse(model_name=manifest.policy, model_version=str(manifest.version), id=request_id)
    for name in names:
        spec, array = specs[name], results[name]
        output = answer.outputs.add(name=name, datatype=NAMES[spec.dtype], shape=array.shape)
        if name in violated:
            output.parameters[GUARDED].string_param = in_words(violated[name])
        if raw:
            answer.raw_output_contents.append(np.ascontiguousarray(array, spec.numpy_dtype).tobytes())
        else:
            getattr(output.contents, CONTENTS[output.datatype]).extend(array.ravel().tolist())
    return answer


def as_response(answer: ModelInferResponse, streamed: bool) -> Response:
    """The octets of an answer, in a stream or not."""
    octets: bytes = answer.SerializeToString()
    return Response(200, MEDIA_TYPE, with_length(INFER_RESPONSE, octets) if streamed else octets)


def refuse(error: RlwayError, streamed: bool) -> Response:
    """The error as gRPC's status, or as a message of a stream, which goes on."""
    if not streamed:
        return GrpcRefusal(error)
    sentence = str(error).encode("utf-8", "replace").decode()  # it may quote half a surrogate pair
    message = ModelStreamInferResponse(error_message=sentence)
    return Response(error.http, MEDIA_TYPE, message.SerializeToString())


def id_tail(request_id: str, streamed: bool) -> bytes:
    """What follows the answer to a request with an id: protobuf merges it with the message before it."""
    if not request_id:
        return b""
    octets = with_length(ID, request_id.encode())
    return with_length(INFER_RESPONSE, octets) if streamed else octets


def with_length(tag: bytes, value: bytes) -> bytes:
    """A field whose value has a length."""
    return tag + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


class ActionWire:
    """Writes one action of one row as raw contents."""

    def __init__(self, manifest: Manifest, streamed: bool) -> None:
        spec = manifest.actions[0]
        self._dtype, self._streamed = spec.numpy_dtype, streamed
        nothing = write_answer(manifest, {spec.name: np.zeros((1, *spec.shape), self._dtype)}, [spec.name], True, "")
        del nothing.raw_output_contents[:]
        self._before = nothing.SerializeToString() + RAW_OUTPUT + _varint(spec.row_bytes)
        if streamed:
            self._before = INFER_RESPONSE + _varint(len(self._before) + spec.row_bytes) + self._before
        self._manifest, self._action = manifest, spec.name
        few = _few_actions(spec)
        self._prepared = {action: self._write(np.array(action, self._dtype).tobytes()) for action in few}

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        """The answer to each row."""
        if self._prepared:
            try:
                return list(map(self._prepared.__getitem__, actions.tolist()))
            except KeyError:
                pass
        octets = np.ascontiguousarray(actions, self._dtype).tobytes()
        size = len(octets) // len(actions)
        return [self._write(octets[start : start + size]) for start in range(0, len(octets), size)]

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # action [1, *shape]
        """The answer to an action that the guard has changed; a request's id follows as `id_tail`."""
        names = [self._action]
        return as_response(
            write_answer(self._manifest, {self._action: action}, names, True, "", violated), self._streamed
        )

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error, self._streamed)

    def _write(self, octets: bytes) -> Response:
        return Response(200, MEDIA_TYPE, self._before + octets)


def _few_actions(spec: TensorSpec) -> range:
    """Every action of a small discrete policy; none of others."""
    if not spec.is_discrete or spec.shape:
        return range(0)
    low, high = (float(bound) for bound in spec.bounds())
    return range(int(low), int(high) + 1) if 0 <= high - low < MAX_PREPARED_ACTIONS else range(0)
