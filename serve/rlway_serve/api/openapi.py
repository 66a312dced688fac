"""The OpenAPI document: what every route takes and answers, for `/docs` and for generators of clients.

In:      the application's routes, a policy for the example, whether keys are required.
Out:     `/openapi.json`.

Every answer is described, refusals included. Every refusal is a `Problem`, also those with a status that is not listed.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import UNSET, UnsetType

from rlway_client.contract.guard import Guard, Violations
from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import Fault
from rlway_serve.codec.action import ActionForm
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.messages.request import ActOptions
from rlway_serve.registry.repository import Repository
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.registry.shown_files import MEDIA_TYPES

REASONS = {  # all statuses of the act routes; other routes have some of them
    400: "Not JSON, not of this shape, or no HTTP",
    401: "No API key",
    403: "An API key that is not accepted",
    404: "No such policy, version, label or episode",
    408: "The request did not come in time",
    413: "A body that is too large, or too many observations",
    415: "A media type that is not served",
    422: "Values that do not fit the policy's spec, `errors` has each by its path; or an action that its guard refuses",
    429: "Too much at once; `Retry-After` says when to come back",
    431: "Headers that are too large",
    500: "A failure in the server; its log has the cause under the `request_id`",
    503: "Not ready, stopping, or too many connections",
    504: "The deadline could not be met, so the request did not run",
}
HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    429: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
}
OBSERVATION = (
    "Nested as its shape; of several tensors, by their keys. Where the manifest's `meaning` names the elements of a "
    "tensor, an object of these names, in any order, may stand for its array."
)
REF = "#/components/schemas/{name}"
KEY = "key"
KEY_SCHEME = {"type": "http", "scheme": "bearer", "description": "an API key"}
METRICS = {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}


SHOWN = {
    "description": "The file",
    "content": {
        kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()
    },
}
VERSION = "/v1/policies/{policy}/versions/{version}"
VERSION_FILE = VERSION + "/files/{file}"


class Problem(msgspec.Struct):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str  # one sentence: subject, expected, got
    errors: list[Fault] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


class ActRequest(ActOptions, kw_only=True, forbid_unknown_fields=True):
    """Either one observation or several, and how to act on them."""

    observation: Any = UNSET
    observations: list[Any] | UnsetType = UNSET


class ActAnswer(msgspec.Struct):
    """`action` for an `observation`, `actions` for `observations`; `outputs` where they were asked for.

    `guarded` where the policy's guard changed an action: the rules that it violated by action tensor, and of `actions`
    a list of these.
    """

    version: int
    action: Any = UNSET
    actions: list[Any] | UnsetType = UNSET
    outputs: dict[str, Any] | UnsetType = UNSET
    guarded: Violations | list[Violations] | UnsetType = UNSET


class PolicySummary(msgspec.Struct, kw_only=True):
    """A policy and its versions."""

    name: str
    version: int | None  # the active one; null while there is none
    versions: list[int]  # the loaded ones
    labels: dict[str, int]


class Policies(msgspec.Struct):
    """What is served."""

    policies: list[PolicySummary]
    default: str | None  # the one behind POST /act


class FailedVersion(msgspec.Struct):
    """A version that cannot be served, and why."""

    version: int
    reason: str
    detail: str


class Loaded(msgspec.Struct, kw_only=True):
    """What a version takes and gives, and how long it takes for it."""

    manifest: Manifest
    guard: Guard | None
    runtime: str
    inline: bool  # whether one observation runs on the event loop
    inline_rows: int  # the largest batch that runs there; larger ones run on a thread
    latency_us: dict[str, float]  # by the number of observations


class VersionDescription(Loaded, kw_only=True):
    """A loaded version of a policy."""

    name: str
    version: int
    active: bool  # whether it answers requests that name no version
    labels: list[str]  # which stand for it
    files: list[str]  # those that `…/files/{file}` has


class PolicyDescription(Loaded, kw_only=True):
    """A policy and its active version; the first four are those of `PolicySummary`."""

    name: str
    version: int | None
    versions: list[int]
    labels: dict[str, int]
    failed: list[FailedVersion]
    labels_fault: str | None


class Status(msgspec.Struct):
    """One word."""

    status: str


def describe(app: FastAPI, repository: Repository, keys: Keys) -> None:
    """Sets the application's OpenAPI document, with an example observation for one of the policies."""
    answers_by_path = {
        "/v1/policies": _answers(Policies, 401, 403),
        "/v1/policies/{policy}": _answers(PolicyDescription, 401, 403, 404, 503),
        VERSION: _answers(VersionDescription, 401, 403, 404, 503),
        VERSION_FILE: _refusals(401, 403, 404, 503) | {"200": SHOWN, "206": SHOWN, "304": {"description": "As before"}},
        "/v1/policies/{policy}/stream": _refusals(400, 401, 403, 404)
        | {"101": {"description": "Frames, from here on"}},
        "/healthz": _answers(Status),
        "/readyz": _answers(Status) | {"503": _answered(Status) | {"description": "Not yet, or no longer"}},
        "/metrics": _refusals(401, 403) | {"200": METRICS},
    }
    operations: dict[str, dict[str, Any]] = {path: {"responses": answers} for path, answers in answers_by_path.items()}
    for path, operation in operations.items():
        if path.startswith("/v1/policies"):
            operation["security"] = _security(keys.needed)
    operations["/metrics"]["security"] = _security(keys.needed_for_admin)

    def openapi() -> dict[str, Any]:
        shown = next((policy for policy in (repository.default, *repository) if policy and policy.ready), None)
        if app.openapi_schema is None or shown is None:
            act = {
                "requestBody": _act_request(shown),
                "responses": _act_answers(shown),
                "security": _security(keys.needed),
            }
            described = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            for path, operation in (operations | {"/act": act, "/v1/policies/{policy}/act": act}).items():
                for method, described_operation in described["paths"][path].items():
                    described_operation |= _without_bodies(operation) if method == "head" else operation
            described["components"] = {"schemas": _schemas(), "securitySchemes": {KEY: KEY_SCHEME}}
            app.openapi_schema = described if shown else None
            return described
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _act_request(policy: ServedPolicy | None) -> dict[str, Any]:
    form = ObservationForm(policy.manifest.observation, policy.manifest.meaning) if policy else None
    json = {"schema": _ref(ActRequest)} | _examples(form)
    octets = _octets(f"rows of {form.label if form else 'the observation'}, little-endian")
    return {"required": True, "content": {"application/json": json, "application/octet-stream": octets}}


def _examples(form: ObservationForm | None) -> dict[str, Any]:
    """A request for the policy; and one with values by name, where elements of its observation have names."""
    plain = {"observation": form.example if form else 0}
    if form is None or form.example_by_name is None:
        return {"example": plain}
    named = {"observation": form.example_by_name}
    return {
        "examples": {
            "in_order": {"summary": "Values in order", "value": plain},
            "by_name": {"summary": "Values by name, in any order", "value": named},
        }
    }


def _act_answers(policy: ServedPolicy | None) -> dict[str, Any]:
    form = ActionForm(policy.manifest.actions) if policy else None
    octets = _octets(f"rows of {form.label if form else 'the action'}, little-endian")
    acted = {
        "description": "The action",
        "headers": {
            "rlway-version": {"description": "in JSON it is in the body", "schema": {"type": "integer"}},
            "rlway-guarded": {"description": "in JSON it is in the body, as `guarded`", "schema": {"type": "string"}},
        },
        "content": {"application/json": {"schema": _ref(ActAnswer)}, "application/octet-stream": octets},
    }
    return {"200": acted} | _refusals(*REASONS)


def _answers(shape: type[msgspec.Struct], *refusals: int) -> dict[str, Any]:
    return {"200": _answered(shape)} | _refusals(*refusals)


def _answered(shape: type[msgspec.Struct]) -> dict[str, Any]:
    return {"description": str(shape.__doc__), "content": {"application/json": {"schema": _ref(shape)}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref(Problem)}}
    documented = {
        str(status): {"description": REASONS[status], "content": content}
        | ({"headers": HEADERS[status]} if status in HEADERS else {})
        for status in statuses
    }
    return documented | {"default": {"description": "Any other refusal", "content": content}}


def _without_bodies(operation: dict[str, Any]) -> dict[str, Any]:
    """The same operation for HEAD: the status and headers of GET, and no body."""
    answers = operation["responses"].items()
    bare = {status: {key: answer[key] for key in answer if key != "content"} for status, answer in answers}
    return operation | {"responses": bare}


def _security(needed: bool) -> list[dict[str, Any]]:
    return [{KEY: []}] if needed else [{}, {KEY: []}]


def _ref(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=shape.__name__)}


def _schemas() -> dict[str, Any]:
    described = [Problem, ActRequest, ActAnswer, Policies, PolicyDescription, VersionDescription, Status]
    _, schemas = msgspec.json.schema_components(described, ref_template=REF)
    schemas["ActRequest"]["oneOf"] = [{"required": ["observation"]}, {"required": ["observations"]}]
    schemas["ActRequest"]["properties"]["observation"] = {"description": OBSERVATION}
    schemas["ActRequest"]["properties"]["observations"] |= {"minItems": 1, "items": {"description": OBSERVATION}}
    schemas["ActAnswer"]["properties"]["action"] = {
        "description": "nested as its shape; of several parts, by their keys"
    }
    schemas["ActAnswer"]["oneOf"] = [{"required": ["action"]}, {"required": ["actions"]}]
    for name, dtype in TIME_STEP.items():
        number = {"type": "integer", "minimum": 0, "maximum": 2} if dtype == "int32" else {"type": "number"}
        each = {"type": "array", "items": number, "minItems": 1}
        schemas["TimeStep"]["properties"][name] = {"anyOf": [number, each, {"type": "null"}], "default": None}
    schemas["Explore"] = {
        "title": "Explore",
        "description": "one of epsilon, temperature (discrete) or sigma (continuous); temperature and sigma together "
        "for an action with parts of both kinds",
        "type": "object",
        "properties": {name: {"type": "number", "minimum": 0} for name in ("epsilon", "temperature", "sigma")},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    }
    return schemas


def _octets(description: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "format": "binary", "description": description}}
