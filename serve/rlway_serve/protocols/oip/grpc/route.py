"""How ModelInfer and ModelStreamInfer ask a policy.

In:      a `ModelInferRequest`.
Out:     `GrpcRoute`: plain calls, and questions.
Refuses: what `request.py` refuses.

A plain request has raw contents of one observation and asks for the action alone. It may have an id.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from msgspec.structs import replace

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.parity import Arrays
from rlway_client.protos.inference_pb2 import ModelInferRequest
from rlway_serve.codec.tensors import SOLE
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers
from rlway_serve.gateway.rpc import TIMEOUT, RpcCall, earliest_ms
from rlway_serve.gateway.rpc_messages import parse
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.protocols.oip.datatypes import NAMES
from rlway_serve.protocols.oip.grpc.answer import ActionWire, as_response, id_tail, refuse, write_answer
from rlway_serve.protocols.oip.grpc.request import BINARY_SIZE, read_request, says_size
from rlway_serve.protocols.oip.models import version_number
from rlway_serve.protocols.oip.question import OipQuestion
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy


class GrpcRoutes:
    """The routes of all policies for requests that come one in a call, or in streams."""

    def __init__(self, endpoint: Endpoint, streamed: bool) -> None:
        self.endpoint = endpoint
        self.streamed = streamed
        self._forms: WeakKeyDictionary[LoadedVersion, PlainForm] = WeakKeyDictionary()

    def ask(self, octets: bytes) -> tuple[GrpcRoute, ModelInferRequest]:
        """The route of a message, and what it reads. Raises RequestMalformed, NotFound."""
        request: ModelInferRequest = parse(ModelInferRequest, octets)
        return GrpcRoute(self, self.endpoint.repository[request.model_name]), request

    def plain_form(self, version: LoadedVersion) -> PlainForm:
        """The plain form of a version, which is made once."""
        form = self._forms.get(version)
        if form is None:
            form = self._forms[version] = PlainForm(version, self.streamed)
        return form


class PlainForm:
    """The plain requests and answers of one version whose policy has one input, one action and no state."""

    def __init__(self, version: LoadedVersion, streamed: bool) -> None:
        spec = version.manifest.observation[0]
        self._octets = version.decoder.plain_octets
        self._names = frozenset((spec.name, *SOLE))
        self._datatype, self._shape = NAMES[spec.dtype], [1, *spec.shape]
        self._is_bool = spec.dtype == "bool"  # whose octets may be others than 0 and 1
        self._action = version.manifest.actions[0].name
        self._versions = ("", str(version.number))
        self._streamed = streamed
        self._wire = ActionWire(version.manifest, streamed)

    def take(self, request: ModelInferRequest, call: PlainCall) -> bool:
        """Fills in the call if the request is plain, and returns whether it is."""
        inputs, raw, outputs = request.inputs, request.raw_input_contents, request.outputs
        if len(inputs) != 1 or len(raw) != 1 or request.parameters or request.model_version not in self._versions:
            return False
        tensor, octets = inputs[0], raw[0]
        if len(octets) != self._octets or tensor.datatype != self._datatype or tensor.shape != self._shape:
            return False
        if tensor.name not in self._names or tensor.HasField("contents") or self._is_bool:
            return False
        if tensor.parameters and not (
            [*tensor.parameters] == [BINARY_SIZE] and says_size(tensor.parameters, self._octets)
        ):
            return False
        if outputs and (len(outputs) != 1 or outputs[0].name != self._action or outputs[0].parameters):
            return False
        if request.id:
            if not isinstance(call, RpcCall):
                return False
            call.tail = id_tail(request.id, self._streamed)
        call.observations, call.raw, call.wire = octets, True, self._wire
        return True


class GrpcRoute:
    """The way to one policy."""

    protocol: str = "oip-grpc"
    headers: frozenset[bytes] = frozenset((TIMEOUT,))

    def __init__(self, routes: GrpcRoutes, policy: ServedPolicy) -> None:
        self.policy = policy
        self._routes = routes

    def take_plain(
        self,
        version: LoadedVersion,
        headers: Headers,  # noqa: ARG002  # the call has its deadline already
        body: ModelInferRequest,
        call: PlainCall,
    ) -> bool:
        """Fills in the call if the request is plain, and returns whether it is."""
        return version.decoder.max_plain_bytes >= 0 and self._routes.plain_form(version).take(body, call)

    def question(self, headers: Headers, body: ModelInferRequest) -> GrpcQuestion:
        """The request. Raises RlwayError."""
        return GrpcQuestion(self._routes, self.policy, headers, body)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error, self._routes.streamed)


class GrpcQuestion(OipQuestion):
    """One request over gRPC."""

    def __init__(self, routes: GrpcRoutes, policy: ServedPolicy, headers: Headers, request: ModelInferRequest) -> None:
        version = version_number(request.model_version, policy.name)
        read = read_request(request)
        options = replace(read.options, deadline_ms=earliest_ms(read.options.deadline_ms, headers))
        super().__init__(routes.endpoint, version, options, read.tensors, read.outputs)
        self._streamed = routes.streamed
        self._raw = read.raw
        self._id = request.id

    def write(self, results: Arrays, violated: Violations) -> Response:
        """The answer, with contents of the kind that the request has."""
        assert self.answered_by is not None
        names = self.names(results)
        answer = write_answer(self.answered_by.manifest, results, names, self._raw, self._id, violated)
        return as_response(answer, self._streamed)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error, self._streamed)
