"""How Predict asks a policy.

In:      a `PredictRequest`.
Out:     `GrpcRoute`: plain calls, and questions.
Refuses: what `tensor.py` and `question.py` refuse; unknown models (NotFound).

A plain request has one observation in `tensor_content`, and asks the active version for the action alone. In the octets
of its answer only the action differs, so they are put together without a message.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from msgspec.structs import replace

from rlway_client.common.quote import named
from rlway_client.contract.errors import NotFound, RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_client.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse
from rlway_serve.codec.tensors import SOLE
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers
from rlway_serve.gateway.rpc import TIMEOUT, earliest_ms
from rlway_serve.gateway.rpc_messages import parse
from rlway_serve.messages.call import Call, PlainCall, Receiver
from rlway_serve.messages.request import Pin
from rlway_serve.messages.response import GrpcRefusal, Response
from rlway_serve.protocols.tfs.errors import in_serving_words
from rlway_serve.protocols.tfs.grpc.tensor import read_tensors, write_tensor
from rlway_serve.protocols.tfs.question import PredictQuestion
from rlway_serve.protocols.tfs.signatures import DATA_TYPES, DEFAULT, SIGNATURES, check_signature, signature_of
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

MEDIA_TYPE = b"application/grpc"
MAX_KNOWN = 1024  # answers of a discrete policy that are kept
PLAIN_FIELDS = 3  # of a tensor: dtype, tensor_shape, tensor_content


def pin_of(spec: ModelSpec) -> Pin:
    """The version or label that a request asks for; version 0 and an empty label stand for none."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else 0
    return Pin(version or None, (spec.version_label or None) if choice == "version_label" else None)


def find_policy(endpoint: Endpoint, spec: ModelSpec) -> ServedPolicy:
    """The policy of this name. Raises NotFound."""
    policy = endpoint.repository.find(spec.name)
    if policy is None:
        served = named([each.name for each in endpoint.repository]) or "none yet"
        raise in_serving_words(NotFound(f"served are: {served}."), spec.name, pin_of(spec))
    return policy


class GrpcRoutes:
    """The routes of all policies."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.max_bytes = settings.max_body_bytes
        self._forms: WeakKeyDictionary[LoadedVersion, PlainForm] = WeakKeyDictionary()

    def ask(self, octets: bytes) -> tuple[GrpcRoute, PredictRequest]:
        """The route of a message, and what it reads. Raises RequestMalformed, NotFound."""
        request: PredictRequest = parse(PredictRequest, octets)
        return GrpcRoute(self, find_policy(self.endpoint, request.model_spec)), request

    def plain_form(self, version: LoadedVersion) -> PlainForm:
        """The plain form of a version, which is made once."""
        form = self._forms.get(version)
        if form is None:
            form = self._forms[version] = PlainForm(version)
        return form


class PlainForm:
    """The plain requests and answers of one version whose policy has one input, one action and no state."""

    def __init__(self, version: LoadedVersion) -> None:
        manifest = version.manifest
        spec = manifest.observation[0]
        self._octets = version.decoder.plain_octets
        self._names = frozenset((spec.name, *SOLE))
        self._dtype, self._shape = DATA_TYPES[spec.dtype].number, [1, *spec.shape]
        self._is_bool = spec.dtype == "bool"  # whose octets may be others than 0 and 1
        self._wires = {name: ActionWire(manifest, name) for name in SIGNATURES}
        self._wires[""] = self._wires[DEFAULT]

    def take(self, request: PredictRequest, call: PlainCall) -> bool:
        """Fills in the call if the request is plain, and returns whether it is."""
        spec, inputs = request.model_spec, request.inputs
        wire = self._wires.get(spec.signature_name)
        if wire is None or len(inputs) != 1 or request.output_filter or spec.WhichOneof("version_choice") is not None:
            return False
        (name,) = inputs
        tensor = inputs[name]
        octets = tensor.tensor_content
        if len(octets) != self._octets or tensor.dtype != self._dtype or name not in self._names or self._is_bool:
            return False
        shape = tensor.tensor_shape
        if len(shape.dim) != len(self._shape) or [dim.size for dim in shape.dim] != self._shape or shape.unknown_rank:
            return False
        if len(tensor.ListFields()) != PLAIN_FIELDS:
            return False
        call.observations, call.raw, call.wire = octets, True, wire
        return True


class ActionWire:
    """Writes one action of one row, under the name that a signature gives it."""

    def __init__(self, manifest: Manifest, signature: str) -> None:
        spec = manifest.actions[0]
        self._dtype = spec.numpy_dtype
        outputs = signature_of(manifest, signature).outputs
        name = next(name for name, output in outputs.items() if output.name == spec.name)
        tensor = write_tensor(np.zeros((1, *spec.shape), self._dtype), spec)
        octets = tensor.tensor_content
        model = PredictResponse(model_spec=_answering(manifest, signature)).SerializeToString()
        # A message's fields may come in any order: here the outputs come last, and the tensor's content last in them.
        entry = PredictResponse(outputs={name: tensor}).SerializeToString()
        assert entry.endswith(octets)
        self._before = model + entry.removesuffix(octets)
        self._discrete = spec.is_discrete and not spec.shape
        self._known: dict[int, Response] = {}  # by action

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        """The answer to each row."""
        if self._discrete:
            try:
                return list(map(self._known.__getitem__, actions.tolist()))
            except KeyError:
                pass
        octets = np.ascontiguousarray(actions, self._dtype).tobytes()
        size = len(octets) // len(actions)
        starts = range(0, len(octets), size)
        responses = [Response(200, MEDIA_TYPE, self._before + octets[start : start + size]) for start in starts]
        if self._discrete and len(self._known) < MAX_KNOWN:
            self._known |= zip(actions.tolist(), responses, strict=True)
        return responses

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # noqa: ARG002  # no place to say it
        """The answer to one row that the guard has changed."""
        return self.write_actions(action)[0]

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return GrpcRefusal(error)


class GrpcRoute:
    """The way to one policy."""

    protocol: str = "tfs-grpc"
    headers: frozenset[bytes] = frozenset((TIMEOUT,))

    def __init__(self, routes: GrpcRoutes, policy: ServedPolicy) -> None:
        self.policy = policy
        self._routes = routes

    def take_plain(
        self,
        version: LoadedVersion,
        headers: Headers,  # noqa: ARG002  # the call has its deadline already
        body: PredictRequest,
        call: PlainCall,
    ) -> bool:
        """Fills in the call if the request is plain, and returns whether it is."""
        return version.decoder.max_plain_bytes >= 0 and self._routes.plain_form(version).take(body, call)

    def question(self, headers: Headers, body: PredictRequest) -> GrpcQuestion:
        """The request. Raises RlwayError."""
        return GrpcQuestion(self.policy, body, headers, self._routes.max_bytes)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return GrpcRefusal(in_serving_words(error, self.policy.name, Pin()))


class GrpcQuestion(PredictQuestion):
    """One request over gRPC."""

    def __init__(self, policy: ServedPolicy, request: PredictRequest, headers: Headers, max_bytes: int) -> None:
        spec = request.model_spec
        pin = pin_of(spec)
        super().__init__(
            policy,
            read_tensors(request.inputs, max_bytes),
            {"output_filter": list(request.output_filter)},
            signature=spec.signature_name,
            version=pin.version,
            label=pin.label,
        )
        self._options = replace(self._options, deadline_ms=earliest_ms(self._options.deadline_ms, headers))
        self._answered_by: LoadedVersion | None = None

    def read(self, version: LoadedVersion, caller: Receiver) -> Call:
        """The request as a call of this version. Raises RlwayError."""
        self._answered_by = version
        return super().read(version, caller)

    def write(self, results: Arrays, violated: Violations) -> Response:  # noqa: ARG002  # no place to say it
        """The answer, which names the version."""
        assert self._answered_by is not None
        manifest = self._answered_by.manifest
        named_by_spec = {spec.name: spec for spec in manifest.interface.results}
        outputs = {**named_by_spec, **signature_of(manifest, self._signature).outputs}
        tensors = {name: write_tensor(array, outputs[name]) for name, array in self.select(results).items()}
        answer = PredictResponse(outputs=tensors, model_spec=_answering(manifest, self._signature))
        return Response(200, MEDIA_TYPE, answer.SerializeToString())

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return GrpcRefusal(self.in_serving_words(error))


def _answering(manifest: Manifest, signature: str) -> ModelSpec:
    """The version that answers, as answers name it."""
    spec = ModelSpec(name=manifest.policy, signature_name=check_signature(signature))
    spec.version.value = manifest.version
    return spec
