"""The FastAPI application: every documented route, including act requests that the hot lane does not take.

In:      an endpoint, the metrics, settings.
Out:     an ASGI application.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.responses import Response as HttpResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rlway_client.contract.errors import NotFound, RequestMalformed, RlwayError
from rlway_serve import __version__
from rlway_serve.api.openapi import describe
from rlway_serve.gateway.asgi import FutureCaller, authorization_of, read_body, to_http
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.messages.response import PROBLEM, Response, new_internal_error, problem_response
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.registry.shown_files import find_shown
from rlway_serve.settings import Settings
from rlway_serve.telemetry.multiprocess import MultiprocessMetrics
from rlway_serve.telemetry.tracing import TRACE_HEADERS

Handler = Callable[..., Awaitable[Any]]

# A browser that is led to a bundle's file shows it, and runs nothing of it.
UNTRUSTED = {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}

log = logging.getLogger(__name__)


def create_app(
    endpoint: Endpoint, metrics: MultiprocessMetrics, settings: Settings, further: Sequence[APIRouter] = ()
) -> FastAPI:
    """Builds the application with all routes; `further` holds those of other protocols and of the pages."""
    app = FastAPI(
        title="RLway",
        version=__version__,
        description="Policies that answer observations with actions.",
        docs_url=None,  # `rlway_serve.ui` has it
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the caller's `Host` header
        exception_handlers={RlwayError: _on_rlway_error, HTTPException: _on_http_error, Exception: _on_bug},
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=[
                "authorization",
                "content-type",
                "inference-header-content-length",  # of the Open Inference Protocol's binary data
                "x-request-id",
                *sorted(name.decode() for name in TRACE_HEADERS),
            ],
            expose_headers=[
                "inference-header-content-length",
                "retry-after",
                "rlway-guarded",
                "rlway-version",
                "x-request-id",
            ],
        )
    repository = endpoint.repository

    def read(path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Registers a route for GET and one for HEAD, since in OpenAPI each operation needs its own id."""

        def register(handler: Handler) -> Handler:
            return app.head(path, **options)(app.get(path, **options)(handler))

        return register

    @app.post("/v1/policies/{policy}/act", summary="Actions for observations")
    async def act(policy: str, request: Request) -> HttpResponse:
        """One `observation` gives one `action`; several `observations` give as many `actions`, in order.

        Where the manifest's `meaning` names the elements of a tensor, their values may come by name, in any order.
        `application/octet-stream` takes the raw little-endian tensor and gives raw actions.
        """
        # Before the policy is looked up: the 404 of an unknown policy names the others.
        _check_key(endpoint, request, repository.find(policy))
        return await _act(repository[policy], request)

    @app.post("/act", summary="The same for the default policy")
    async def act_default(request: Request) -> HttpResponse:
        _check_key(endpoint, request, repository.default)
        if repository.default is None:
            names = ", ".join(policy.name for policy in repository) or "none yet"
            raise NotFound(f"/act: no policy is the default; use /v1/policies/NAME/act; served are: {names}.")
        return await _act(repository.default, request)

    async def _act(policy: ServedPolicy, request: Request) -> HttpResponse:
        hold = endpoint.bodies.hold()
        try:
            body = await read_body(request, settings.max_body_bytes, hold)
            return await _answer(policy, request, body)
        except ClientDisconnect:
            return HttpResponse(status_code=499)  # for the access log; the client is gone
        except RlwayError as error:
            policy.metrics.count_refusal(error)
            raise
        finally:
            hold.release()

    async def _answer(policy: ServedPolicy, request: Request, body: bytes) -> HttpResponse:
        caller = FutureCaller(request)
        media_type = request.headers.get("content-type", "").encode("latin-1")
        endpoint.act(policy, media_type, authorization_of(request), body, caller)
        return to_http(await caller.answered)

    @read("/v1/policies/{policy}/stream", summary="A WebSocket for act requests")
    async def stream(policy: str, request: Request) -> HttpResponse:
        """Text frames are the JSON bodies of act requests, binary frames raw rows; each is answered by a frame.

        With the subprotocol `rlway.details`, binary answers also say the version, and what its guard changed.
        """
        _check_key(endpoint, request)
        name = repository[policy].name
        raise RequestMalformed(f"/v1/policies/{name}/stream: expected a WebSocket handshake (RFC 6455).")

    @read("/v1/policies", summary="What is served")
    async def policies(request: Request) -> dict[str, Any]:
        _check_key(endpoint, request)
        default = repository.default.name if repository.default else None
        return {"policies": [policy.summary() for policy in repository], "default": default}

    @read("/v1/policies/{policy}", summary="A policy's manifest, versions and measured latency")
    async def policy(policy: str, request: Request) -> dict[str, Any]:
        _check_key(endpoint, request)
        return repository[policy].describe()

    @read("/v1/policies/{policy}/versions/{version}", summary="A loaded version's manifest, files and measured latency")
    async def version(policy: str, version: str, request: Request) -> dict[str, Any]:
        _check_key(endpoint, request)
        return repository[policy].describe_version(version)

    @read(
        "/v1/policies/{policy}/versions/{version}/files/{file}",
        summary="A picture, a film or the model card of a loaded version",
        response_class=HttpResponse,
    )
    async def version_file(policy: str, version: str, file: str, request: Request) -> HttpResponse:
        """`files` of the version names them."""
        _check_key(endpoint, request)
        shown = find_shown(repository[policy].find_version(version), file)
        headers = {"cache-control": "no-cache", "etag": f'"{shown.sha256}"', **UNTRUSTED}
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return HttpResponse(status_code=304, headers=headers)
        return FileResponse(shown.path, media_type=shown.media_type, headers=headers)

    @read("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @read("/readyz", summary="Whether actions can be asked for")
    async def readyz() -> HttpResponse:
        status, word = (200, "ready") if endpoint.ready else (503, "stopping" if endpoint.draining else "loading")
        return HttpResponse(msgspec.json.encode({"status": word}), status, media_type="application/json")

    @read("/metrics", summary="Prometheus metrics", response_class=HttpResponse)
    async def read_metrics(request: Request) -> HttpResponse:
        endpoint.keys.check_admin(authorization_of(request))
        return HttpResponse(await metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    for router in further:
        app.include_router(router)
    describe(app, repository, endpoint.keys)
    return app


def _check_key(endpoint: Endpoint, request: Request, policy: ServedPolicy | None = None) -> None:
    """Raises if the key is missing or wrong, and counts the refusal under the policy that was asked."""
    try:
        endpoint.keys.check(authorization_of(request))
    except RlwayError as error:
        if policy is not None:
            policy.metrics.count_refusal(error)
        raise


async def _on_rlway_error(_: Request, error: Exception) -> HttpResponse:
    assert isinstance(error, RlwayError)
    return to_http(problem_response(error))


async def _on_http_error(request: Request, error: Exception) -> HttpResponse:
    """Answers unknown routes and methods as problem+json, like all errors."""
    assert isinstance(error, HTTPException)
    method = "GET" if request.method == "HEAD" else request.method  # HEAD and GET have equal headers
    problem = {
        "type": "about:blank",
        "title": error.detail,
        "status": error.status_code,
        "detail": f"{method} {request.url.path[:200]}: {error.detail.lower()}; GET /docs lists the routes.",
    }
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if "GET" in headers.get("allow", ""):
        headers["allow"] = "GET, HEAD"  # FastAPI names only the methods of the first route with this path
    encoded = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return to_http(Response(error.status_code, PROBLEM, msgspec.json.encode(problem), encoded))


async def _on_bug(request: Request, error: Exception) -> HttpResponse:
    internal = new_internal_error()
    log.error("%s failed (request id %s)", request.url.path, internal.request_id, exc_info=error)
    return to_http(problem_response(internal))
