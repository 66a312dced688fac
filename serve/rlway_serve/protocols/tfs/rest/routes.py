"""The REST routes that FastAPI answers: status and metadata, and predict requests that the hot lane does not take.

In:      `/v1/models` and what is below it; `/`, where KServe's client asks whether the server lives.
Out:     JSON, of any media type that a client sends or none.
Refuses: in TensorFlow Serving's form: other paths and methods, unknown models, versions and labels, missing keys.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse

from rlway_client.common.quote import clipped, named
from rlway_client.contract.errors import NotFound, RlwayError
from rlway_serve.gateway.asgi import FutureCaller, answer_in_words, authorization_of, read_body, to_http
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.messages.response import JSON, Response
from rlway_serve.protocols.tfs.errors import in_serving_words, not_implemented
from rlway_serve.protocols.tfs.metadata import describe_metadata, describe_status
from rlway_serve.protocols.tfs.rest.answer import refuse
from rlway_serve.protocols.tfs.rest.paths import PREFIX, Asked, parse_path
from rlway_serve.protocols.tfs.rest.route import TfsRoute, TfsRoutes
from rlway_serve.protocols.tfs.status import version_states
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

READING = ("GET", "HEAD")


def make_router(endpoint: Endpoint, found: TfsRoutes, settings: Settings) -> APIRouter:
    """The routes of the REST API. They are not in the OpenAPI document, which describes the native ones."""
    routes = APIRouter(include_in_schema=False, redirect_slashes=False)
    rest = RestApi(endpoint, found, settings)

    @routes.api_route("/", methods=[*READING])
    async def alive() -> HttpResponse:
        return _json({"status": "alive"})

    for path in (PREFIX, f"{PREFIX}/{{rest:path}}"):
        routes.add_route(path, rest.answer, methods=[], include_in_schema=False)  # all methods
    return routes


class RestApi:
    """Answers requests in TensorFlow Serving's form, whatever is wrong with them."""

    def __init__(self, endpoint: Endpoint, routes: TfsRoutes, settings: Settings) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._routes = routes

    async def answer(self, request: Request) -> HttpResponse:
        """The answer to a request to `/v1/models` or below it."""
        return await answer_in_words(request, self._answer(request), refuse)

    async def _answer(self, request: Request) -> HttpResponse:
        method, path = request.method, request.scope["path"]
        if path == PREFIX and method in READING:
            self._endpoint.keys.check(authorization_of(request))
            return _json({"models": [policy.name for policy in self._endpoint.repository]})
        asked = parse_path(method, path)
        # Before the model is looked up: the sentence about an unknown model names the others.
        self._check_key(request, asked)
        policy = self._find(asked)
        if method == "POST":
            if asked.method != "predict":
                raise not_implemented(asked.method)
            return await self._predict(policy, asked, request)
        if not asked.method:
            return _json(describe_status(policy.name, version_states(policy, asked.pin, self._settings.keep_versions)))
        try:
            return _json(describe_metadata(policy.choose(asked.pin)))
        except RlwayError as error:
            raise in_serving_words(error, asked.model, asked.pin) from None

    async def _predict(self, policy: ServedPolicy, asked: Asked, request: Request) -> HttpResponse:
        hold = self._endpoint.bodies.hold()
        try:
            body = await read_body(request, self._settings.max_body_bytes, hold)
            caller = FutureCaller(request)
            route = self._routes.route(policy, asked.version, asked.label)
            self._endpoint.ask(route, authorization_of(request), {}, body, caller)
            return to_http(await caller.answered)
        except RlwayError as error:
            self._endpoint.count_unread(TfsRoute.protocol, policy, error)
            raise
        finally:
            hold.release()

    def _check_key(self, request: Request, asked: Asked) -> None:
        try:
            self._endpoint.keys.check(authorization_of(request))
        except RlwayError as error:
            policy = self._endpoint.repository.find(asked.model)
            if policy is not None and request.method == "POST":
                self._endpoint.count_unread(TfsRoute.protocol, policy, error)
            raise

    def _find(self, asked: Asked) -> ServedPolicy:
        policy = self._endpoint.repository.find(asked.model)
        if policy is None:
            served = named([policy.name for policy in self._endpoint.repository]) or "none yet"
            if not asked.method:
                raise NotFound(f"Could not find any versions of model {clipped(asked.model)}; served are: {served}.")
            raise in_serving_words(NotFound(f"served are: {served}."), asked.model, asked.pin)
        return policy


def _json(content: Any) -> HttpResponse:
    return to_http(Response(200, JSON, msgspec.json.encode(content)))
