"""The protocol's routes in the application: health, metadata, statistics, and infer requests that the hot lane leaves.

In:      an endpoint, the infer routes, settings.
Out:     a router for FastAPI.
Refuses: unknown paths and methods below `/v2`, and whatever the routes refuse, as `{"error": sentence}`.

The routes are not in the OpenAPI document: the protocol has one of its own, and its shapes depend on the policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse
from fastapi.routing import APIRoute
from starlette.routing import Match

from rlway_client.common import quote
from rlway_client.contract.errors import NotReady, RequestMalformed, RlwayError
from rlway_serve.gateway.asgi import FutureCaller, answer_in_words, authorization_of, read_body, to_http
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.messages.response import JSON, Response
from rlway_serve.protocols.oip.configuration import model_configuration
from rlway_serve.protocols.oip.metadata import model_metadata, server_metadata
from rlway_serve.protocols.oip.models import find_version
from rlway_serve.protocols.oip.repository_index import repository_index
from rlway_serve.protocols.oip.rest.answer import error_response, refuse
from rlway_serve.protocols.oip.rest.route import OipRoute, OipRoutes
from rlway_serve.protocols.oip.statistics import model_statistics
from rlway_serve.settings import Settings

Handler = Callable[..., Awaitable[HttpResponse]]

READING, POSTING = ["GET", "HEAD"], ["POST"]
MAX_INDEX_BYTES = 1024  # of the body of an index request


class IndexRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for the repository's index; it may be empty."""

    ready: bool = False


class RefusingRoute(APIRoute):
    """A route whose refusals have the protocol's form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, HttpResponse]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> HttpResponse:
            return await answer_in_words(request, handler(request), refuse)

        return answer


def make_router(endpoint: Endpoint, routes: OipRoutes, settings: Settings) -> APIRouter:
    """All routes of the protocol."""
    router = APIRouter(route_class=RefusingRoute, redirect_slashes=False)
    pages = Pages(endpoint, settings)
    models = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"

    def add(path: str, handler: Handler, methods: list[str]) -> None:
        router.add_api_route(path, handler, methods=methods, include_in_schema=False, response_model=None)

    async def infer(request: Request) -> HttpResponse:
        return await _infer(endpoint, routes, settings, request)

    add("/v2", pages.server, READING)
    add("/v2/health/live", pages.live, READING)
    add("/v2/health/ready", pages.ready, READING)
    add("/v2/models/stats", pages.all_statistics, READING)
    for model in models:
        add(model, pages.metadata, READING)
        add(f"{model}/ready", pages.model_ready, READING)
        add(f"{model}/config", pages.configuration, READING)
        add(f"{model}/stats", pages.statistics, READING)
        add(f"{model}/infer", infer, POSTING)
    add("/v2/repository/index", pages.index, POSTING)
    for action in ("load", "unload"):
        add(f"/v2/repository/models/{{model}}/{action}", pages.load, POSTING)

    known = [route for route in router.routes if isinstance(route, APIRoute)]

    async def unknown(request: Request) -> HttpResponse:
        allowed = sorted(
            {m for route in known if route.matches(request.scope)[0] == Match.PARTIAL for m in route.methods or ()}
        )
        method = "GET" if request.method == "HEAD" else request.method  # HEAD and GET have equal headers
        asked = f"{method} {quote.clipped(request.url.path)}"
        if allowed:
            names = ", ".join(allowed)
            return to_http(error_response(405, f"{asked}: expected {names}.", ((b"allow", names.encode()),)))
        return to_http(error_response(404, f"{asked}: not found; GET /v2 lists what this server has of the protocol."))

    for path in ("/v2", "/v2/{rest:path}"):
        router.add_route(path, unknown, methods=[], include_in_schema=False)  # all methods
    return router


async def _infer(endpoint: Endpoint, routes: OipRoutes, settings: Settings, request: Request) -> HttpResponse:
    """Answers an infer request that the hot lane has left: with a chunked body, with a query, …"""
    model, version = request.path_params["model"], request.path_params.get("version", "")
    hold = endpoint.bodies.hold()
    try:
        endpoint.keys.check(authorization_of(request))  # before the names of the policies are told
        route = routes.route(model, version)
        body = await read_body(request, settings.max_body_bytes, hold)
        headers = {name: value for name, value in reversed(request.headers.raw) if name in route.headers}
        caller = FutureCaller(request)
        endpoint.ask(route, authorization_of(request), headers, body, caller)
        return to_http(await caller.answered)
    except RlwayError as error:
        policy = endpoint.repository.find(model)
        if policy is not None:
            endpoint.count_unread(OipRoute.protocol, policy, error)
        raise
    finally:
        hold.release()


class Pages:
    """What can be read about the server and its models."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint = endpoint
        self._repository = endpoint.repository
        self._settings = settings

    async def server(self) -> HttpResponse:
        return _json(server_metadata())

    async def live(self) -> HttpResponse:
        return _json({"live": True})

    async def ready(self) -> HttpResponse:
        if self._endpoint.ready:
            return _json({"ready": True})
        why = "stopping" if self._endpoint.draining else "loading its policies"
        return to_http(refuse(NotReady(f"the server is {why}."), {"ready": False}))

    async def metadata(self, request: Request) -> HttpResponse:
        model, version = self._asked(request)
        found = find_version(self._repository, model, version)
        return _json(model_metadata(self._repository[model], found))

    async def model_ready(self, request: Request) -> HttpResponse:
        model, version = self._asked(request)
        try:
            find_version(self._repository, model, version)
        except NotReady as error:
            return to_http(refuse(error, {"name": model, "ready": False}))
        return _json({"name": model, "ready": True})

    async def configuration(self, request: Request) -> HttpResponse:
        return _json(model_configuration(find_version(self._repository, *self._asked(request)), self._settings))

    async def statistics(self, request: Request) -> HttpResponse:
        model, version = self._asked(request)
        if version:
            return _json(model_statistics([find_version(self._repository, model, version)]))
        return _json(model_statistics(loaded for _, loaded in sorted(self._repository[model].loaded.items())))

    async def all_statistics(self, request: Request) -> HttpResponse:
        self._check_key(request)
        return _json(model_statistics(v for policy in self._repository for _, v in sorted(policy.loaded.items())))

    async def index(self, request: Request) -> HttpResponse:
        self._check_key(request)
        hold = self._endpoint.bodies.hold()
        try:
            body = await read_body(request, MAX_INDEX_BYTES, hold)
        finally:
            hold.release()
        try:
            asked = msgspec.json.decode(body, type=IndexRequest) if body.strip() else IndexRequest()
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise RequestMalformed(
                f'body: expected {{"ready": true}} or nothing: {quote.reason(str(error))}.'
            ) from None
        return _json(repository_index(self._repository, self._settings, asked.ready))

    async def load(self, request: Request) -> HttpResponse:
        self._check_key(request)
        sentence = "the repository extension is not served: the server follows its models folder by itself."
        return to_http(error_response(501, sentence))

    def _asked(self, request: Request) -> tuple[str, str]:
        """The model and the version that the path names, once the key is checked."""
        self._check_key(request)
        return request.path_params["model"], request.path_params.get("version", "")

    def _check_key(self, request: Request) -> None:
        self._endpoint.keys.check(authorization_of(request))


def _json(value: Any) -> HttpResponse:
    return to_http(Response(200, JSON, msgspec.json.encode(value)))
