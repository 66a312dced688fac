"""Every failure that RLway reports, with its HTTP and its gRPC status.

A message is one sentence that says the subject, what was expected, what was found and, if there is one, the remedy.

    RlwayError                    http  grpc
    ├── RequestMalformed          400   INVALID_ARGUMENT
    ├── KeyMissing                401   UNAUTHENTICATED
    ├── KeyRefused                403   PERMISSION_DENIED
    ├── NotFound                  404   NOT_FOUND
    ├── RequestTimeout            408   DEADLINE_EXCEEDED
    ├── BodyTooLarge              413   OUT_OF_RANGE
    ├── MediaTypeUnsupported      415   INVALID_ARGUMENT
    ├── SpecViolated              422   INVALID_ARGUMENT     carries `faults`, each with its path
    ├── ActionRefused             422   FAILED_PRECONDITION  the policy's guard refuses the action
    ├── QueueFull                 429   RESOURCE_EXHAUSTED   carries `retry_after_s`
    │   └── RateExceeded                likewise, for one caller that asks too often
    ├── HeadersTooLarge           431   OUT_OF_RANGE
    ├── InternalError             500   INTERNAL             carries a request id, and nothing else
    ├── Unimplemented             501   UNIMPLEMENTED        a method of a protocol that a policy has no use for
    ├── NotReady                  503   UNAVAILABLE
    │   └── TooManyConnections          this server holds as many connections as it may
    ├── DeadlineExceeded          504   DEADLINE_EXCEEDED    the caller's own deadline passed before the policy ran
    ├── UsageError                      a command was given what it cannot use; exits 2
    │   └── RuntimeMissing              a file cannot be run, because what runs such files is not installed
    ├── EnvironmentFault                an environment is unknown, unsuitable or broken
    ├── RunInvalid                      a run folder is missing, unfinished or damaged
    ├── BundleInvalid                   a bundle is missing, damaged or of another schema
    ├── ExportRefused                   a policy cannot be converted, or its files disagree
    └── ServerUnreachable               nothing answered, or not in time
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import msgspec

from rlway_client.contract.specs import Fault


class RlwayError(Exception):
    """A failure, with one sentence for the person who can mend it."""

    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal error"
    exit_code: ClassVar[int] = 1

    def problem(self) -> dict[str, Any]:
        """The error as RFC 9457 problem details."""
        return {"type": "about:blank", "title": self.title, "status": self.http, "detail": str(self)}


class RequestMalformed(RlwayError):
    http, grpc, title = 400, "INVALID_ARGUMENT", "Malformed request"


class KeyMissing(RlwayError):
    http, grpc, title = 401, "UNAUTHENTICATED", "API key missing"


class KeyRefused(RlwayError):
    http, grpc, title = 403, "PERMISSION_DENIED", "API key refused"


class NotFound(RlwayError):
    http, grpc, title = 404, "NOT_FOUND", "Not found"


class RequestTimeout(RlwayError):
    """The rest of a request did not come in time."""

    http, grpc, title = 408, "DEADLINE_EXCEEDED", "Request timeout"


class BodyTooLarge(RlwayError):
    http, grpc, title = 413, "OUT_OF_RANGE", "Body too large"


class MediaTypeUnsupported(RlwayError):
    http, grpc, title = 415, "INVALID_ARGUMENT", "Media type not supported"


class SpecViolated(RlwayError):
    """A request's values do not fit the policy's spec; `faults` names each by its path."""

    http, grpc, title = 422, "INVALID_ARGUMENT", "Request does not fit the policy's spec"

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0].sentence}{more}")

    def problem(self) -> dict[str, Any]:
        faults = [{"path": f.path, "expected": f.expected, "got": f.got} for f in self.faults]
        return super().problem() | {"errors": faults}


class ActionRefused(RlwayError):
    """The action violates a rule of the policy's guard, which refuses what does."""

    http, grpc, title = 422, "FAILED_PRECONDITION", "Action refused by the policy's guard"


class QueueFull(RlwayError):
    http, grpc, title = 429, "RESOURCE_EXHAUSTED", "Queue full"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RateExceeded(QueueFull):
    title = "Rate exceeded"


class HeadersTooLarge(RlwayError):
    http, grpc, title = 431, "OUT_OF_RANGE", "Request header fields too large"


class InternalError(RlwayError):
    """The server failed, whatever the caller does; its log has the traceback under the same request id."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"The server failed on this request; its log has the cause under request id {request_id}.")

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"request_id": self.request_id}


class Unimplemented(RlwayError):
    http, grpc, title = 501, "UNIMPLEMENTED", "Not implemented"


class NotReady(RlwayError):
    http, grpc, title = 503, "UNAVAILABLE", "Not ready"


class TooManyConnections(NotReady):
    pass


class DeadlineExceeded(RlwayError):
    http, grpc, title = 504, "DEADLINE_EXCEEDED", "Deadline exceeded"


class UsageError(RlwayError):
    exit_code = 2


class RuntimeMissing(UsageError):
    pass


class EnvironmentFault(RlwayError):
    pass


class RunInvalid(RlwayError):
    pass


class BundleInvalid(RlwayError):
    pass


class ExportRefused(RlwayError):
    pass


class ServerUnreachable(RlwayError):
    pass


_BY_STATUS: dict[int, type[RlwayError]] = {
    kind.http: kind
    for kind in (
        RequestMalformed,
        KeyMissing,
        KeyRefused,
        NotFound,
        RequestTimeout,
        BodyTooLarge,
        MediaTypeUnsupported,
        ActionRefused,
        HeadersTooLarge,
        Unimplemented,
        NotReady,
        DeadlineExceeded,
    )
}


def from_problem(status: int, problem: dict[str, Any], headers: Mapping[str, str]) -> RlwayError:
    """The error that a server reported by this status and problem document, for a client to raise."""
    detail = str(problem.get("detail") or f"the server answered with status {status}")
    if status == SpecViolated.http:
        with suppress(msgspec.ValidationError):
            faults = msgspec.convert(problem.get("errors"), list[Fault])
            if faults:
                return SpecViolated(faults)
    if status == QueueFull.http:
        seconds = headers.get("retry-after", "")
        return QueueFull(detail, int(seconds) if seconds.isdecimal() else 1)
    if "request_id" in problem:
        return InternalError(str(problem["request_id"]))
    return _BY_STATUS.get(status, RlwayError)(detail)
