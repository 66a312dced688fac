"""Errors in the words of TensorFlow Serving, and the HTTP status of each.

In:      an error of this server; the model and the version that the request asked for.
Out:     the error with TensorFlow Serving's sentence before our own; its HTTP status.

TensorFlow Serving decides the HTTP status by the canonical code, so a `SpecViolated` is 400 here.
"""

from __future__ import annotations

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import NotFound, RequestMalformed, RlwayError, Unimplemented
from rlway_serve.messages.request import Pin

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def http_status(error: RlwayError) -> int:
    """The status with which TensorFlow Serving answers an error of this code."""
    return HTTP_STATUS.get(error.grpc, 500)


def not_implemented(method: str) -> Unimplemented:
    """The error for `classify`, `regress` and what else a policy cannot do."""
    return Unimplemented(f"{clipped(method)}: not implemented, since a policy takes tensors; use predict.")


def in_serving_words(error: RlwayError, model: str, pin: Pin) -> RlwayError:
    """The error with TensorFlow Serving's sentence, if it says that a model, a version or a label is not there."""
    if not isinstance(error, NotFound):
        return error
    if pin.episode is not None and not pin.first:
        return NotFound(f"episode {clipped(pin.episode)!r}: not known here; begin it with step_type 0 in all rows.")
    said = str(error)
    own = said.partition(": ")[2] if said.startswith("policy ") else said
    if pin.label is not None:
        return RequestMalformed(f"Unrecognized servable version label: {clipped(pin.label)}; {own}")
    asked = f"Latest({clipped(model)})" if pin.version is None else f"Specific({clipped(model)}, {pin.version})"
    return NotFound(f"Servable not found for request: {asked}; {own}")
