"""Who is let in over gRPC, by which keys, over TLS, and what is written down about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from rlway_client.protos.inference_pb2 import ServerReadyResponse
from rlway_serve.transport.grpc.tls import GrpcCertificate
from tests.bundles import linear_policy
from tests.collector import Collector, running_collector
from tests.rpc import (
    HEALTH,
    INFER,
    INFERENCE,
    LEFT,
    MODEL,
    PREDICT,
    PREDICTION,
    STREAM,
    Talk,
    ask,
    call,
    call_with,
    channel_to,
    failure,
    infer,
    predict,
    read_streamed,
)
from tests.serve.gateway.test_access import make_certificate
from tests.servers import ANSWER_S, Server, get_request, running_server, wait_until

KEY = ("authorization", "Bearer api-key")
WRONG = ("authorization", "Bearer another")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Wants a key, and writes an access log."""
    models = tmp_path_factory.mktemp("guarded") / "models"
    linear_policy(models)
    models.with_name("keys").write_text("api-key\n")
    options = ["--api-keys", str(models.with_name("keys")), "--access-log", str(models.with_name("access"))]
    options += ["--body-timeout-s", "0.5"]
    with running_server(models, models.with_name("log"), "--grpc-port", "0", *options) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def channel(guarded: Server) -> Iterator[grpc.Channel]:
    with channel_to(guarded) as connected:
        yield connected


@pytest.mark.parametrize(("path", "message"), [(INFER, infer()), (PREDICT, predict())], ids=["oip", "tfs"])
def test_a_key_comes_as_metadata(guarded: Server, channel: grpc.Channel, path: str, message: bytes) -> None:
    """As `authorization: Bearer …`; without one the call is UNAUTHENTICATED, with a wrong one PERMISSION_DENIED."""
    before = keyless(guarded)
    assert call(channel, path, message).code == "UNAUTHENTICATED"
    assert call(channel, path, message, metadata=[WRONG]).code == "PERMISSION_DENIED"
    assert call(channel, path, message, metadata=[KEY]).code == "OK"
    assert keyless(guarded) == before + 1


def keyless(server: Server) -> float:
    """How many calls had no key."""
    lines = server.ask(get_request("/metrics")).body.decode().splitlines()
    found = [line for line in lines if line.startswith("rlway_grpc_refusals_total") and "KeyMissing" in line]
    return sum(float(line.split()[-1]) for line in found)


@pytest.mark.parametrize(
    "path",
    [
        f"{INFERENCE}/ModelReady",
        f"{INFERENCE}/ModelMetadata",
        f"{INFERENCE}/ModelConfig",
        f"{INFERENCE}/ModelStatistics",
        f"{INFERENCE}/RepositoryIndex",
        f"{PREDICTION}/GetModelMetadata",
        f"{MODEL}/GetModelStatus",
        INFER,
        PREDICT,
    ],
)
def test_nothing_is_told_of_policies_without_a_key(channel: grpc.Channel, path: str) -> None:
    """Not even which of them there are, and not what is wrong with a message."""
    for message in (b"", b"\xff", infer(model="nothing")):
        outcome = call(channel, path, message)
        assert (outcome.code, "linear" in outcome.sentence) == ("UNAUTHENTICATED", False)


def test_health_needs_no_key(channel: grpc.Channel) -> None:
    """Nor do the server's own methods for it."""
    assert health_pb2.HealthCheckResponse.FromString(call(channel, f"{HEALTH}/Check").answer).status == 1
    assert ServerReadyResponse.FromString(call(channel, f"{INFERENCE}/ServerReady").answer).ready
    assert call(channel, f"{INFERENCE}/ServerLive").code == "OK"
    assert call(channel, f"{INFERENCE}/ServerMetadata").code == "OK"


def test_a_stream_needs_a_key_to_open(channel: grpc.Channel) -> None:
    """Without one it ends before its first answer; with one it goes on."""
    for metadata, code in (((), "UNAUTHENTICATED"), ((WRONG,), "PERMISSION_DENIED")):
        with pytest.raises(grpc.RpcError) as caught:
            next(channel.stream_stream(STREAM)(iter([infer()]), 20, metadata))
        assert failure(caught.value).code == code
    answers = channel.stream_stream(STREAM)(iter([infer()] * 3), 20, (KEY,))
    assert [read_streamed(answer).error_message for answer in answers] == ["", "", ""]


def test_the_access_log_has_a_line_for_each_call_and_message(guarded: Server, channel: grpc.Channel) -> None:
    """With the method's full name and the status that HTTP would have, also if no message came."""
    path = guarded.log.with_name("access")
    before = len(path.read_text().splitlines())
    call(channel, INFER, infer([LEFT]), metadata=[KEY, ("x-request-id", "robot-7")])
    call(channel, INFER, infer(model="nothing"), metadata=[KEY])
    list(channel.stream_stream(STREAM)(iter([infer([LEFT])]), 20, (KEY,)))
    call(channel, f"{HEALTH}/Check")
    for path_without_key in (INFER, STREAM):
        assert call(channel, path_without_key, infer()).code == "UNAUTHENTICATED"
    assert call_with(channel, f"{HEALTH}/Check", []).code == "INVALID_ARGUMENT"
    over = threading.Event()
    assert call_with(channel, f"{HEALTH}/Check", until(over)).code == "DEADLINE_EXCEEDED"
    over.set()
    lines = [json.loads(line) for line in path.read_text().splitlines()[before:]]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GRPC", INFER, 200),
        ("GRPC", INFER, 404),
        ("GRPC", STREAM, 200),
        ("GRPC", f"{HEALTH}/Check", 200),
        ("GRPC", INFER, 401),
        ("GRPC", STREAM, 401),
        ("GRPC", f"{HEALTH}/Check", 400),
        ("GRPC", f"{HEALTH}/Check", 408),
    ]
    assert [line["request_id"] for line in lines] == ["robot-7", *[None] * 7]
    assert (lines[0]["peer"].partition(":")[0], lines[0]["request_bytes"]) == ("127.0.0.1", len(infer([LEFT])))


def until(over: threading.Event) -> Iterator[bytes]:
    """No message, and no end before this event."""
    over.wait(ANSWER_S)
    yield from ()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as collecting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collecting.url)
        yield collecting


def test_calls_leave_spans(collector: Collector, tmp_path: Path, log: Path) -> None:
    """Each is a child of its caller's span; refused ones have a span, too."""
    linear_policy(tmp_path / "models")
    metadata = [("traceparent", f"00-{TRACE}-{PARENT}-01")]
    with running_server(tmp_path / "models", log, "--grpc-port", "0", "--otel") as server:
        with channel_to(server) as channel:
            assert call(channel, INFER, infer([LEFT]), metadata=metadata).action == [1]
            assert call(channel, PREDICT, predict([LEFT]), metadata=metadata).code == "OK"
            assert call(channel, INFER, infer([[1.0]]), metadata=metadata).code == "INVALID_ARGUMENT"
            talk = Talk(channel)
            talk.send(infer([LEFT]))
            assert not read_streamed(talk.receive()).error_message
            talk.end()
        assert server.stop() == 0
    spans = [(span.attributes["network.protocol.name"], span.attributes["http.response.status_code"], span.parent_id)
             for span in collector.spans]  # fmt: skip
    assert sorted(spans) == [
        ("oip-grpc", 200, ""),
        ("oip-grpc", 200, PARENT),
        ("oip-grpc", 422, PARENT),
        ("tfs-grpc", 200, PARENT),
    ]
    assert {span.attributes["rpc.system"] for span in collector.spans} == {"grpc"}
    assert {span.attributes["client.address"] for span in collector.spans} == {"127.0.0.1"}
    assert "Traceback" not in log.read_text()


def test_grpc_takes_a_certificate_once(tmp_path: Path) -> None:
    """Handshakes failed, one in a thousand, when each of them replaced the certificate by itself."""
    certificate = GrpcCertificate(*make_certificate(tmp_path, "first"))
    assert certificate.take_renewed() is None
    make_certificate(tmp_path, "second")
    certificate.watched.reload()
    assert certificate.take_renewed() is not None
    assert certificate.take_renewed() is None


def test_tls_is_that_of_http_and_takes_a_new_certificate(tmp_path: Path, log: Path) -> None:
    """A certificate that is replaced counts for the next connection, and unusable files change nothing."""
    linear_policy(tmp_path / "models")
    certificate, key = make_certificate(tmp_path, "first")
    first = certificate.read_bytes()
    options = ["--grpc-port", "0", "--tls-cert", str(certificate), "--tls-key", str(key)]
    with running_server(tmp_path / "models", log, *options) as server:

        def answers(trusted: bytes) -> bool:
            with channel_to(server, credentials=grpc.ssl_channel_credentials(trusted)) as channel:
                return call(channel, INFER, infer(), timeout_s=5).code == "OK"

        assert answers(first)
        assert ask(server, INFER, infer(), timeout_s=5).code == "UNAVAILABLE"  # in the clear
        make_certificate(tmp_path, "second")
        wait_until(lambda: answers(certificate.read_bytes()), "the new certificate to be used")
        assert not answers(first)
        second = certificate.read_bytes()
        key.write_text("no key\n")
        wait_until(lambda: "gRPC keeps the certificate" in log.read_text(), "the unusable key to be named")
        assert answers(second)
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()
