"""Traces of act requests, for OpenTelemetry.

In:      requests as they enter, batches as they are answered; the standard `OTEL_…` variables.
Out:     a span for each request, sent to a collector by OTLP over HTTP, on a separate thread.
Refuses: missing packages, another protocol, or `OTEL_…` variables that cannot be parsed (UsageError).

Without tracing nothing of this runs: `TracedEndpoint` and `TracedPolicyMetrics` are subclasses that take the place of
`Endpoint` and `PolicyMetrics`. A span holds timings and sizes, never observations or actions.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rlway_client.contract.errors import UsageError
from rlway_serve import __version__
from rlway_serve.messages.call import AnyCall, Call, Caller, TraceHeaders
from rlway_serve.messages.response import Response
from rlway_serve.telemetry.metrics import PolicyMetrics

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

PROTOCOL = "http/protobuf"
GRPC = "-grpc"  # the end of the names of protocols over gRPC
FLUSH_S = 2.0  # the longest that a stop waits for the last spans

log = logging.getLogger(__name__)


class SharedRun(NamedTuple):
    """The run that a request was part of."""

    version: int
    rows: int  # of the request
    batch_rows: int
    queue_s: float
    compute_s: float


class TracedCaller:
    """Passes the answer on to the caller, and ends the request's span."""

    def __init__(self, tracing: Tracing, policy: str, protocol: str, caller: Caller) -> None:
        self.policy = policy
        self.protocol = protocol
        self.ran: SharedRun | None = None
        self.began_ns = time.time_ns()
        self._began_s = time.perf_counter()
        self._tracing = tracing
        self._caller = caller

    @property
    def connection(self) -> object:
        return self._caller.connection

    @property
    def abandoned(self) -> bool:
        return self._caller.abandoned

    @property
    def peer(self) -> str | None:
        return self._caller.peer

    @property
    def trace_headers(self) -> TraceHeaders:
        return self._caller.trace_headers

    def answer(self, response: Response) -> None:
        ended_ns = self.began_ns + round((time.perf_counter() - self._began_s) * 1e9)
        self._caller.answer(response)
        try:
            self._tracing.record(self, response.status, ended_ns)
        except Exception:  # raised by a sampler or a processor; later answers must not suffer
            log.exception("a request's span cannot be made")


class Tracing:
    """Makes spans and sends them."""

    def __init__(self) -> None:
        protocol = _environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
        if protocol != PROTOCOL:
            raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL: expected {PROTOCOL}, got {protocol}; set it for traces.")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, Status, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise UsageError('--otel: OpenTelemetry is not installed; pip install "rlway-serve[otel]".') from None
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # no name is set
            resource = resource.merge(Resource({SERVICE_NAME: "rlway", SERVICE_VERSION: __version__}))
        try:
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except (OSError, ValueError) as error:
            raise UsageError(f"--otel: an OTEL_… variable cannot be used: {error}.") from None
        self._tracer = self._provider.get_tracer("rlway_serve", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._server, self._failed = SpanKind.SERVER, Status(StatusCode.ERROR)

    def record(self, request: TracedCaller, status: int, ended_ns: int) -> None:
        """Makes one span; it is a child of the caller's span if there is one."""
        headers = {name.decode(): value.decode("latin-1") for name, value in request.trace_headers}
        parent = self._propagator.extract(headers)
        span = self._tracer.start_span(
            f"act {request.policy}", parent, self._server, {"rlway.policy": request.policy}, start_time=request.began_ns
        )
        if span.is_recording():
            span.set_attributes(_attributes(request, status))
            if status >= 500:
                span.set_status(self._failed)
            span.end(ended_ns)

    def close(self) -> None:
        """Sends the remaining spans, for at most `FLUSH_S`."""
        closing = threading.Thread(target=self._provider.shutdown, name="rlway-otel", daemon=True)
        closing.start()
        closing.join(FLUSH_S)


class TracedPolicyMetrics(PolicyMetrics):
    """Counts, and notes in each traced request which run it was part of."""

    def count_batch(self, batch: Sequence[AnyCall], rows: int, began_s: float, now_s: float) -> None:
        super().count_batch(batch, rows, began_s, now_s)
        version = int(self.labels[1])
        for call in batch:
            if isinstance(call, Call) and isinstance(call.caller, TracedCaller):
                call.caller.ran = SharedRun(version, call.rows, rows, began_s - call.arrived_s, now_s - began_s)


def open_tracing(asked: bool | None) -> Tracing | None:
    """Opens tracing if `--otel` or the environment asks for it. `asked` is None without a flag.

    A fault is an error with `--otel`, and a warning if only the environment asks.
    """
    if asked is False or _environment("OTEL_SDK_DISABLED").lower() == "true":
        return None
    if asked:
        return Tracing()
    exporters = _environment("OTEL_TRACES_EXPORTER")
    endpoint = _environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if "otlp" not in exporters.split(",") if exporters else not endpoint:
        return None
    try:
        return Tracing()
    except UsageError as error:
        log.warning("%s No traces are sent.", error)
        return None


def _environment(*names: str) -> str:
    """The first of these variables that is set. An empty one counts as not set, as in OpenTelemetry."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _attributes(request: TracedCaller, status: int) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "network.protocol.name": request.protocol,
        "http.response.status_code": status,
    }
    if request.protocol.endswith(GRPC):
        attributes["rpc.system"] = "grpc"  # the HTTP status is then the one that such an error has over REST
    if (peer := request.peer) is not None:
        attributes["client.address"] = peer
    if status >= 500:
        attributes["error.type"] = str(status)
    if (ran := request.ran) is not None:
        attributes["rlway.version"] = ran.version
        attributes["rlway.rows"] = ran.rows
        attributes["rlway.batch_rows"] = ran.batch_rows
        attributes["rlway.queue_ms"] = ran.queue_s * 1e3
        attributes["rlway.compute_ms"] = ran.compute_s * 1e3
    return attributes


TRACE_HEADERS = frozenset((b"traceparent", b"tracestate"))  # of W3C Trace Context
