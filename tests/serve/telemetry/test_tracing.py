"""Traces of act requests, as a collector receives them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from rlway_client.contract.errors import UsageError
from rlway_serve.telemetry.tracing import open_tracing
from tests.bundles import linear_policy, summing_policy
from tests.collector import Collector, running_collector
from tests.ports import free_port
from tests.serve.registry.test_startup import fail_to_serve
from tests.servers import ACT, ANSWER_S, LANES, act_request, get_request, running_server

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}
SERVER, ERROR = 2, 2  # a span's kind and its status, by their numbers in OTLP
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def traceparent(trace: str = TRACE, sampled: bool = True) -> str:
    return f"traceparent: 00-{trace}-{PARENT}-0{int(sampled)}"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that servers and this process find through the standard variables."""
    with running_collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "cell-7")
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    linear_policy(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def without_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that find only the OpenTelemetry packages that FastAPI installs."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_every_lane_leaves_a_span_that_tells_how_it_went(collector: Collector, models: Path, log: Path) -> None:
    """A child of the caller's span with policy, version, rows and times, and no observation. A stop sends all."""
    traces = {lane: f"{i:032x}" for i, lane in enumerate((*LANES, "frame"), 1)}
    with running_server(models, log) as server:
        answers = [server.ask(act_request(BODY, lane=lane, headers=[traceparent(traces[lane])])) for lane in LANES]
        plain = server.ask(act_request({"observations": [[0.125, 0, 0, 0]] * 3}))
        headers = {"traceparent": traceparent(traces["frame"]).split()[1], "tracestate": "lab=x"}
        url = f"ws://{server.host}:{server.port}/v1/policies/linear/stream"
        with connect(url, additional_headers=headers) as stream:
            for _ in range(2):
                stream.send(json.dumps(BODY))
                assert stream.recv(ANSWER_S) == '{"action":0,"version":1}'
        assert server.stop() == 0
    assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"action":0,"version":1}')}
    assert plain.json == {"actions": [0, 0, 0], "version": 1}
    by_trace = {span.trace_id: span for span in collector.spans}
    assert len(collector.spans) == len(LANES) + 3
    assert set(traces.values()) < set(by_trace)
    assert sum(span.trace_id == traces["frame"] for span in collector.spans) == 2
    for span in collector.spans:
        root = span.trace_id not in traces.values()
        framed = span.trace_id == traces["frame"]
        assert (span.name, span.kind, span.status) == ("act linear", SERVER, 0)
        assert span.parent_id == ("" if root else PARENT)
        assert span.trace_state == ("lab=x" if framed else "")
        assert (span.resource["service.name"], span.resource["telemetry.sdk.name"]) == ("cell-7", "opentelemetry")
        times = [span.attributes.pop(f"rlway.{name}_ms") for name in ("queue", "compute")]
        assert min(times) >= 0
        assert 0 < sum(times) < span.duration_ms + 0.1
        rows = 3 if root else 1
        assert span.attributes == {
            "rlway.policy": "linear",
            "rlway.version": 1,
            "rlway.rows": rows,
            "rlway.batch_rows": rows,
            "network.protocol.name": "websocket" if framed else "http",
            "http.response.status_code": 200,
            "client.address": "127.0.0.1",
        }
    assert "Traceback" not in log.read_text()


def test_the_last_step_of_an_episode_tells_its_run(collector: Collector, tmp_path: Path, log: Path) -> None:
    """As the steps before it."""
    summing_policy(tmp_path / "models")
    tensor = {"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 1]}
    with running_server(tmp_path / "models", log) as server:
        for more in ({"sequence_start": True}, {}, {"sequence_end": True}):
            body = {"inputs": [tensor], "parameters": {"sequence_id": 5, **more}}
            assert server.ask(act_request(body, path="/v2/models/summing/infer")).status == 200
        assert server.stop() == 0
    assert [span.attributes["rlway.batch_rows"] for span in collector.spans] == [1, 1, 1]


def test_refusals_leave_spans_too(collector: Collector, models: Path, log: Path) -> None:
    """They have the status and no run; 5xx is an error. A request that the caller does not sample has no span."""
    requests = {
        404: act_request(BODY | {"version": 9}, headers=[traceparent()]),
        422: act_request({"observation": [1]}, headers=["traceparent: nonsense"]),
        504: act_request(BODY | {"deadline_ms": 1e-6}),
        200: act_request(BODY, headers=[traceparent(sampled=False)]),
    }
    with running_server(models, log, "--otel") as server:
        assert [server.ask(request).status for request in requests.values()] == [*requests]
        server.ask(get_request("/healthz", traceparent()))
        assert server.stop() == 0
    found = {span.attributes["http.response.status_code"]: span for span in collector.spans}
    assert (len(collector.spans), set(found)) == (3, {404, 422, 504})
    assert [found[status].status for status in (404, 422, 504)] == [0, 0, ERROR]
    assert found[504].attributes["error.type"] == "504"
    assert not any("rlway.batch_rows" in span.attributes for span in collector.spans)
    assert [found[status].trace_id == TRACE for status in (404, 422, 504)] == [True, False, False]


def test_each_worker_sends_its_own(collector: Collector, models: Path, log: Path) -> None:
    """Every worker has an exporter, however the kernel spreads the connections."""
    with running_server(models, log, "--workers", "2") as server:
        for _ in range(20):
            assert server.ask(act_request(BODY)).status == 200
        assert server.stop() == 0
    assert len({span.trace_id for span in collector.spans}) == 20


def test_a_collector_that_is_away_changes_no_answer(models: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not delay the end of the server either."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with running_server(models, log) as server:
        assert server.ask(act_request(BODY)).status == 200
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.usefixtures("without_extra")
def test_the_extra_is_named_where_it_is_missing(models: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--otel` it is an error; with variables alone, which a cluster may set everywhere, a warning."""
    assert 'pip install "rlway-serve[otel]"' in fail_to_serve(models, "--otel")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with running_server(models, log) as server:
        assert server.ask(act_request(BODY)).status == 200
    assert len(re.findall(r"rlway-serve\[otel\].* No traces are sent", log.read_text())) == 1


@pytest.mark.parametrize(
    ("asked", "variables", "traces"),
    [
        (None, {}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
        (None, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, False),
        (None, {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "True"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        (True, {}, True),
        (True, {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_environment_decides_where_nobody_else_does(
    asked: bool | None, variables: dict[str, str], traces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a flag, OpenTelemetry's own variables decide."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracing = open_tracing(asked)
    assert (tracing is not None) == traces
    if tracing is not None:
        tracing.close()


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "positive"),
    ],
)
def test_variables_that_cannot_be_used_are_told(
    variable: str, value: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, if traces are asked for."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=word):
        open_tracing(True)


def test_a_page_of_another_origin_takes_part_in_its_trace(collector: Collector, models: Path, log: Path) -> None:
    """The preflight allows the trace headers, and the action's span is a child of the page's."""
    origin = "origin: https://lab.example"
    asked = [
        "access-control-request-method: POST",
        "access-control-request-headers: content-type,traceparent,tracestate",
    ]
    with running_server(models, log, "--cors-origin", "https://lab.example") as server:
        assert server.ask(get_request(ACT, origin, *asked, method="OPTIONS")).status == 200
        assert server.ask(act_request(BODY, headers=[origin, traceparent(), "tracestate: lab=x"])).status == 200
        assert server.stop() == 0
    [span] = collector.spans
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
