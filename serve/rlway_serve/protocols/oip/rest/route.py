"""How infer requests over REST ask a policy, on every lane of the HTTP server.

In:      a URL; the header `Inference-Header-Content-Length`, and a body.
Out:     `OipRoute`: plain calls, and questions.
Refuses: what `request.py` refuses; too much JSON (BodyTooLarge); another model's name (RequestMalformed).
"""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from rlway_client.common import quote
from rlway_client.contract.errors import BodyTooLarge, RequestMalformed, RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.parity import Arrays
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.protocols.oip.models import version_number
from rlway_serve.protocols.oip.question import OipQuestion
from rlway_serve.protocols.oip.rest.answer import JSON_LENGTH, RestAnswers, refuse
from rlway_serve.protocols.oip.rest.plain import PlainForm
from rlway_serve.protocols.oip.rest.request import RequestReader, RestRequest, json_length
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

INFER = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]+))?/infer")


class OipRoutes:
    """The routes of all policies, and what they share: remembered JSON, and the plain forms of loaded versions."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.max_json_bytes = settings.max_json_bytes
        self.reader = RequestReader()
        self._forms: WeakKeyDictionary[LoadedVersion, PlainForm] = WeakKeyDictionary()

    def find(self, url: bytes) -> OipRoute | None:
        """The route of a request's URL; None for one that the application has to answer."""
        match = INFER.fullmatch(url)
        if match is None:
            return None
        try:
            return self.route(match[1].decode(), (match[2] or b"").decode())
        except RlwayError:
            return None  # the application says what is wrong, to those with a key

    def route(self, model: str, version: str) -> OipRoute:
        """The route to a model; an empty `version` stands for the active one. Raises NotFound."""
        policy = self.endpoint.repository[model]
        return OipRoute(self, policy, version_number(version, policy.name))

    def plain_form(self, version: LoadedVersion) -> PlainForm:
        """The plain form of a version, which is made once."""
        form = self._forms.get(version)
        if form is None:
            form = self._forms[version] = PlainForm(version)
        return form


class OipRoute:
    """The way to one policy, or to one of its versions."""

    protocol: str = "oip"
    headers: frozenset[bytes] = frozenset((JSON_LENGTH,))

    def __init__(self, routes: OipRoutes, policy: ServedPolicy, version: int | None) -> None:
        self.policy = policy
        self._routes = routes
        self._version = version

    def take_plain(self, version: LoadedVersion, headers: Headers, body: bytes, call: PlainCall) -> bool:
        """Fills in the call if the request is plain, and returns whether it is."""
        if version.decoder.max_plain_bytes < 0 or self._version not in (None, version.number):
            return False
        header = headers.get(JSON_LENGTH)
        if header is None:
            return self._routes.plain_form(version).take_json(body, call)
        if not header.isdigit() or len(header) > 9:
            return False
        start = int(header)
        request = self._routes.reader.remembered.get(body[:start])
        return request is not None and self._routes.plain_form(version).take_octets(request, body, start, call)

    def question(self, headers: Headers, body: bytes) -> RestQuestion:
        """The request. Raises RlwayError."""
        start = json_length(headers.get(JSON_LENGTH), len(body))
        if start > self._routes.max_json_bytes:
            raise BodyTooLarge(
                f"body: expected at most {self._routes.max_json_bytes} bytes of JSON; "
                "send the inputs as binary data, or in several requests."
            )
        request = self._routes.reader.read(body[:start], has_octets=start < len(body))
        if request.model_name not in (None, self.policy.name):
            got = quote.clipped(request.model_name)
            raise RequestMalformed(f"model_name: expected {self.policy.name}, as in the URL, got {got}.")
        return RestQuestion(self._routes.endpoint, self._version, request, body, start)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error)


class RestQuestion(OipQuestion):
    """One request over REST."""

    def __init__(self, endpoint: Endpoint, version: int | None, request: RestRequest, body: bytes, start: int) -> None:
        super().__init__(endpoint, version, request.options, request.tensors(body, start), tuple(request.outputs))
        self._request = request

    def write(self, results: Arrays, violated: Violations) -> Response:
        """The answer, in the form in which it was asked for."""
        assert self.answered_by is not None
        request = self._request

        def binary(name: str) -> bool:
            return request.outputs.get(name, request.binary_outputs)

        answers = RestAnswers(self.answered_by.manifest)
        return answers.write(results, self.names(results), binary, request.id, violated)

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""
        return refuse(error)
