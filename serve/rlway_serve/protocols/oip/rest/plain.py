"""The fast way for requests over REST that ask one version for the action to one observation, and nothing else.

In:      the JSON of a request; or remembered JSON with one observation behind it as octets.
Out:     the observation for a `PlainCall`, and the `Wire` that writes its answer.
Refuses: nothing. A request that is not plain takes the general way, which says what is wrong with it.

Answers to a small discrete policy are prepared. In others, only the action differs, and the id where a request has one:
KServe's client gives each of its requests one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import NO_VIOLATIONS, Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.action import few_actions
from rlway_serve.codec.decoder import UNREADABLE
from rlway_serve.codec.nesting import row_type
from rlway_serve.codec.tensors import SOLE
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.protocols.oip.datatypes import NAMES
from rlway_serve.protocols.oip.parameters import MOST
from rlway_serve.protocols.oip.rest.answer import JSON_LENGTH, RestAnswers, refuse
from rlway_serve.protocols.oip.rest.request import RestRequest
from rlway_serve.registry.loaded_version import LoadedVersion

Count = Annotated[int, Meta(ge=0, le=MOST)]


class PlainParameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The parameters that a plain request may have."""

    binary_data_output: bool = False
    timeout: Count = 0
    priority: Count = 0


class PlainOutputParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The parameters of its output."""

    binary_data: bool | None = None


NO_PARAMETERS = PlainParameters()


class PlainForm:
    """The plain requests and answers of one version whose policy has one input, one action and no state."""

    def __init__(self, version: LoadedVersion) -> None:
        manifest = version.manifest
        spec = manifest.observation[0]
        self._max_bytes = version.decoder.max_plain_bytes
        self._octets = version.decoder.plain_octets
        self._names = dict.fromkeys((spec.name, *SOLE))
        self._model, self._action = manifest.policy, manifest.actions[0].name
        self._datatype, self._shape = NAMES[spec.dtype], (1, *spec.shape)
        self._is_scalar = not spec.shape
        # Two readers, for nested and for flat data; one if they are alike, or if flat data would have to be nested.
        row: Any = row_type(spec, finite=True)
        one_row: Any = Annotated[list[row], Meta(min_length=1, max_length=1)]
        self._decode = self._decoder(one_row)
        self._decode_other = self._decoder(row) if len(spec.shape) == 1 else None
        answers = RestAnswers(manifest)
        self.json = ActionWire(manifest, answers, binary=False)
        self.binary = ActionWire(manifest, answers, binary=True)

    def _decoder(self, data: Any) -> Callable[[bytes], Any]:
        name: Any = Literal[(*self._names,)]
        action: Any = Literal[self._action]
        datatype: Any = Literal[self._datatype]
        model: Any = Literal[self._model]
        shape: Any = tuple[tuple(Literal[length] for length in self._shape)]  # type: ignore[misc]  # made from values
        plain_input: Any = _struct("PlainInput", name=name, shape=shape, datatype=datatype, data=data)
        output: Any = _struct("PlainOutput", name=action, parameters=(PlainOutputParameters | None, None))
        request = _struct(
            "PlainInfer",
            inputs=Annotated[list[plain_input], Meta(min_length=1, max_length=1)],
            parameters=(PlainParameters, NO_PARAMETERS),
            outputs=(Annotated[list[output], Meta(max_length=1)], []),
            model_name=(model | None, None),
            id=(str | None, None),
        )
        return msgspec.json.Decoder(request).decode

    def take_json(self, body: bytes, call: PlainCall) -> bool:
        """Fills in the call if the JSON is a plain request, and returns whether it is."""
        if len(body) > self._max_bytes:
            return False
        try:
            request = self._decode(body)
        except UNREADABLE:
            if self._decode_other is None:
                return False
            try:
                request = self._decode_other(body)
            except UNREADABLE:
                return False
            self._decode, self._decode_other = self._decode_other, self._decode  # a client's requests are alike
        data = request.inputs[0].data
        call.observations = data[0] if self._is_scalar or type(data[0]) is list else data
        parameters = request.parameters
        binary = parameters.binary_data_output
        if request.outputs and request.outputs[0].parameters is not None:
            own = request.outputs[0].parameters.binary_data
            binary = binary if own is None else own
        wire = self.binary if binary else self.json
        call.wire = wire if request.id is None else IdWire(wire, request.id)
        if parameters.timeout:
            call.deadline_s = call.arrived_s + parameters.timeout / 1e6
        return True

    def take_octets(self, request: RestRequest, body: bytes, start: int, call: PlainCall) -> bool:
        """As `take_json`, for octets behind JSON that has been read before."""
        if len(request.inputs) != 1 or len(body) - start != self._octets or request.octets != self._octets:
            return False
        plan = request.inputs[0]
        if plan.array is not None or plan.shape != self._shape or plan.datatype != self._datatype:
            return False
        binary = request.outputs.get(self._action, request.binary_outputs)
        wants_more = request.outputs and [*request.outputs] != [self._action]
        if wants_more or request.id is not None or not request.options.is_plain:
            return False
        if plan.name not in self._names or request.model_name not in (None, self._model):
            return False
        call.observations, call.raw = body[start:], True
        call.wire = self.binary if binary else self.json
        if request.options.deadline_ms is not None:
            call.deadline_s = call.arrived_s + request.options.deadline_ms / 1000
        return True


class ActionWire:
    """Writes one action of one row, as JSON or as octets behind JSON."""

    def __init__(self, manifest: Manifest, answers: RestAnswers, binary: bool) -> None:
        spec = manifest.actions[0]
        self._dtype, self._binary = spec.numpy_dtype, binary

        def write(action: AnyArray, request_id: str | None = None, violated: Violations = NO_VIOLATIONS) -> Response:
            return answers.write({spec.name: action}, (spec.name,), lambda _: binary, request_id, violated)

        self._write_whole = write
        few = few_actions(spec)
        self._prepared = {action: write(np.array([action], self._dtype)) for action in few}
        # What stands before and behind the action is the same in every answer; an id comes before the outputs.
        example = write(np.zeros((1, *spec.shape), self._dtype))
        data = b"\0" * spec.row_bytes if binary else b"[" + b",".join([_zero(self._dtype)] * spec.size) + b"]"
        place = example.body.rindex(data)
        self._before, self._behind = example.body[:place], example.body[place + len(data) :]
        self._id_place = self._before.index(b'"outputs":')
        self._media_type, self._headers = example.media_type, example.headers

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        """The answer to each row."""
        if self._prepared:
            try:
                return list(map(self._prepared.__getitem__, actions.tolist()))
            except KeyError:
                pass
        return self._write(actions, self._before, self._headers)

    def write_guarded(self, action: AnyArray, violated: Violations, request_id: str | None = None) -> Response:
        """The answer to one row that the guard has changed."""
        return self._write_whole(action, request_id, violated)

    def write_with_id(self, actions: AnyArray, request_id: str) -> list[Response]:  # actions [rows, *shape]
        """As `write_actions`, for requests with this id."""
        own = b'"id":%s,' % msgspec.json.encode(request_id)
        before = self._before[: self._id_place] + own + self._before[self._id_place :]
        headers = ((JSON_LENGTH, str(len(before)).encode()),) if self._binary else self._headers
        return self._write(actions, before, headers)

    def _write(self, actions: AnyArray, before: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> list[Response]:
        kind, behind = self._media_type, self._behind
        return [Response(200, kind, before + data + behind, headers) for data in self._data(actions)]

    def _data(self, actions: AnyArray) -> Sequence[bytes]:
        if self._binary:
            octets = np.ascontiguousarray(actions, self._dtype).tobytes()
            size = len(octets) // len(actions)
            return [octets[start : start + size] for start in range(0, len(octets), size)]
        return [msgspec.json.encode(row) for row in actions.reshape(len(actions), -1).tolist()]

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error)


class IdWire:
    """Writes the answer to one request with an id."""

    __slots__ = ("_id", "_wire")

    def __init__(self, wire: ActionWire, request_id: str) -> None:
        self._wire = wire
        self._id = request_id

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [1, *shape]
        """The answer."""
        return self._wire.write_with_id(actions, self._id)

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # action [1, *shape]
        """The answer to an action that the guard has changed."""
        return self._wire.write_guarded(action, violated, self._id)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error)


def _struct(name: str, /, **fields: Any) -> Any:
    """A msgspec type with these fields: a type, or a type and the default."""
    listed = [(field, *kind) if isinstance(kind, tuple) else (field, kind) for field, kind in fields.items()]
    return msgspec.defstruct(name, listed, forbid_unknown_fields=True, gc=False)


def _zero(dtype: np.dtype[Any]) -> bytes:
    return msgspec.json.encode(np.zeros((), dtype).item())
