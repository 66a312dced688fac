"""Calls over gRPC on their way: limits, deadlines, clients that leave, and what the server says of itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.bundles import linear_policy, q_network_policy
from tests.rpc import (
    HEALTH,
    INFER,
    INFERENCE,
    LEFT,
    PREDICT,
    RIGHT,
    STREAM,
    ask,
    call,
    call_with,
    channel_to,
    failure,
    infer,
    open_streams,
    predict,
)
from tests.servers import ACT, ANSWER_S, Server, act_request, get_request, read_metrics, running_server, wait_until

REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
MOST_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy that answers at once and one that takes longer; half a second for a message to arrive."""
    models = tmp_path_factory.mktemp("grpc") / "models"
    linear_policy(models)
    q_network_policy(models, "slow", (2048, 2048, 2048))
    with running_server(models, models.with_name("log"), "--grpc-port", "0", "--body-timeout-s", "0.5") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def channel(served: Server) -> Iterator[grpc.Channel]:
    with channel_to(served) as connected:
        yield connected


# Methods and messages.


def test_both_protocols_answer_on_one_port(channel: grpc.Channel) -> None:
    """The Open Inference Protocol's and TensorFlow Serving's messages go to the same policy."""
    assert call(channel, INFER, infer([LEFT])).action == [1]
    assert call(channel, INFER, infer([RIGHT])).action == [0]
    assert call(channel, PREDICT, predict([LEFT])).code == "OK"


@pytest.mark.parametrize("path", [f"{INFERENCE}/Nothing", "/nothing/Nothing", f"{INFERENCE}/modelinfer"])
def test_a_method_that_is_not_there_is_unimplemented(channel: grpc.Channel, path: str) -> None:
    """gRPC says so, and the connection stays."""
    assert call(channel, path).code == "UNIMPLEMENTED"
    assert call(channel, INFER, infer()).code == "OK"


def test_a_call_without_a_message_is_refused(channel: grpc.Channel) -> None:
    """A client may end a call at once."""
    outcome = call_with(channel, INFER, [])
    assert (outcome.code, outcome.sentence) == (
        "INVALID_ARGUMENT",
        "message: expected one, got the end of the call.",
    )


def test_a_narrowed_server_has_no_services_of_other_protocols(tmp_path: Path, log: Path) -> None:
    """`--protocols tfs` leaves the Open Inference Protocol unimplemented and unlisted."""
    linear_policy(tmp_path / "models")
    with (
        running_server(tmp_path / "models", log, "--grpc-port", "0", "--protocols", "tfs") as server,
        channel_to(server) as channel,
    ):
        assert call(channel, PREDICT, predict()).code == "OK"
        assert call(channel, INFER, infer()).code == "UNIMPLEMENTED"
        assert not [name for name in ProtoReflectionDescriptorDatabase(channel).get_services() if "inference" in name]


# Limits.


def test_a_message_may_have_4_mib_and_no_more(channel: grpc.Channel) -> None:
    """The largest one is read, and refused for what it holds; a larger one is refused by gRPC, also if compressed."""
    head = len(infer([[0.0]], model="x" * 10))
    assert call(channel, INFER, infer([[0.0]], model="x" * (MOST_BYTES - head - 10))).code == "NOT_FOUND"
    outcome = call(channel, INFER, bytes(MOST_BYTES + 1))
    assert outcome.code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in outcome.sentence
    assert call(channel, INFER, infer()).code == "OK"


def test_a_compressed_message_counts_with_its_size_as_it_is_read(served: Server) -> None:
    """200 MB of zeros come as 200 kB, and never fill the server's memory."""
    before = psutil.Process(served.process.pid).memory_info().rss
    with channel_to(served) as channel:
        assert call(channel, INFER, infer(), compression=grpc.Compression.Gzip).code == "OK"
        outcome = call(channel, INFER, bytes(200_000_000), compression=grpc.Compression.Gzip)
    assert outcome.code == "RESOURCE_EXHAUSTED"
    assert psutil.Process(served.process.pid).memory_info().rss - before < 50_000_000


def test_metadata_are_limited(channel: grpc.Channel) -> None:
    """By `--max-header-bytes`, as in HTTP."""
    assert call(channel, INFER, infer(), metadata=[("x-more", "x" * 20_000)]).code == "OK"
    assert call(channel, INFER, infer(), metadata=[("x-more", "x" * 40_000)]).code == "RESOURCE_EXHAUSTED"


def test_a_message_that_does_not_arrive_is_given_up(channel: grpc.Channel) -> None:
    """A half-open call holds a place only for `--body-timeout-s`."""
    over = threading.Event()

    def never() -> Iterator[bytes]:
        over.wait(ANSWER_S)
        yield from ()

    outcome = call_with(channel, INFER, never())
    over.set()
    assert outcome.code == "DEADLINE_EXCEEDED"
    assert outcome.sentence == "message: expected its end within 0.5 s of the call's beginning."


def test_a_flood_of_streams_stays_within_the_limits(tmp_path: Path, log: Path) -> None:
    """A connection may open 256 streams; a further call waits at the client, and other connections are served."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--grpc-port", "0") as server, channel_to(server) as flood:
        over = threading.Event()

        def idle() -> Iterator[bytes]:
            over.wait(ANSWER_S)
            yield from ()

        idle_streams = [flood.stream_stream(STREAM)(idle()) for _ in range(256)]
        wait_until(lambda: open_streams(server) == 256, "256 open streams")
        assert call(flood, INFER, infer(), timeout_s=0.2).code == "DEADLINE_EXCEEDED"
        assert ask(server, INFER, infer()).code == "OK"
        for stream in idle_streams:
            stream.cancel()
        wait_until(lambda: open_streams(server) == 0, "no open stream")
        assert call(flood, INFER, infer()).code == "OK"
        over.set()
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


def test_calls_beyond_the_limit_of_a_connection_wait_their_turn(channel: grpc.Channel) -> None:
    """A client may start 1,000 at once over one connection; gRPC's overload protection refused a third of them."""
    calls = [channel.unary_unary(INFER).future(infer(), ANSWER_S) for _ in range(1000)]
    assert [failure(error) for one in calls if (error := one.exception()) is not None] == []


def test_a_full_queue_says_when_to_come_again(tmp_path: Path, log: Path) -> None:
    """RESOURCE_EXHAUSTED, with the seconds in the trailing metadata."""
    q_network_policy(tmp_path / "models", "slow", (2048, 2048, 2048))
    options = ["--grpc-port", "0", "--queue-capacity", "1", "--max-batch", "1"]
    with running_server(tmp_path / "models", log, *options) as server, channel_to(server) as channel:
        message = infer(model="slow")
        calls = [channel.unary_unary(INFER).future(message, ANSWER_S) for _ in range(40)]
        refused = [failure(error) for one in calls if (error := one.exception()) is not None]
    assert 0 < len(refused) < 40
    assert {outcome.code for outcome in refused} == {"RESOURCE_EXHAUSTED"}
    assert {outcome.trailing["retry-after"] for outcome in refused} == {"1"}


def test_a_caller_above_its_rate_is_refused(tmp_path: Path, log: Path) -> None:
    """`--max-rate` counts gRPC and HTTP together, by the address."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--grpc-port", "0", "--max-rate", "3") as server:
        codes = [ask(server, INFER, infer()).code for _ in range(3)]
        outcome = ask(server, INFER, infer())
        assert codes == ["OK", "OK", "OK"]
        assert (outcome.code, outcome.trailing["retry-after"]) == ("RESOURCE_EXHAUSTED", "1")
        assert server.ask(act_request({"observation": RIGHT}, path=ACT)).status == 429


# Deadlines, and clients that leave.


def test_a_deadline_that_cannot_be_met_ends_the_call_before_the_run(served: Server, channel: grpc.Channel) -> None:
    """The queue refuses it, whether gRPC's deadline says so or the protocol's own."""
    before = read_metrics(served).get(("rlway_actions_total", "slow", "1"), 0)
    late = infer(model="slow", parameters={"timeout": {"int64_param": 1}})
    outcome = call(channel, INFER, late)
    assert outcome[:2] == ("DEADLINE_EXCEEDED", "deadline: cannot be met; the request has not run.")
    assert call(channel, INFER, infer([RIGHT] * 4000, model="slow"), timeout_s=0.02).code == "DEADLINE_EXCEEDED"
    assert call(channel, INFER, infer(model="slow"), timeout_s=ANSWER_S).code == "OK"
    assert read_metrics(served)["rlway_actions_total", "slow", "1"] == before + 1


def test_clients_that_vanish_leave_nothing_behind(served: Server) -> None:
    """Processes that die with calls and streams in flight, and calls that are cancelled, disturb nobody."""
    program = (
        "import os, grpc\n"
        "from tests.rpc import INFER, STREAM, infer\n"
        f"channel = grpc.insecure_channel('{served.grpc}')\n"
        "calls = [channel.unary_unary(INFER).future(infer(model='slow')) for _ in range(100)]\n"
        "streams = [channel.stream_stream(STREAM)(iter([infer()] * 50)) for _ in range(10)]\n"
        "next(streams[0])\n"
        "os._exit(0)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True)
    with channel_to(served) as channel:
        calls = [channel.unary_unary(INFER).future(infer(), ANSWER_S) for _ in range(100)]
        for one in calls[::2]:
            one.cancel()
        assert all(one.exception() is None for one in calls[1::2])
        for _ in range(10):
            stream = channel.stream_stream(STREAM)(iter([infer()] * 50), ANSWER_S)
            next(stream)
            stream.cancel()
        wait_until(lambda: open_streams(served) == 0, "no open stream")
        assert call(channel, INFER, infer()).code == "OK"


# What the server says of itself.


def test_health_is_told_for_the_server_and_each_service(channel: grpc.Channel) -> None:
    """As the standard service has it; other names are not found."""
    for name in ("", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService"):
        outcome = call(channel, f"{HEALTH}/Check", health_pb2.HealthCheckRequest(service=name).SerializeToString())
        assert health_pb2.HealthCheckResponse.FromString(outcome.answer).status == 1
    unknown = health_pb2.HealthCheckRequest(service="nothing").SerializeToString()
    assert call(channel, f"{HEALTH}/Check", unknown).code == "NOT_FOUND"
    assert call(channel, f"{HEALTH}/Check", b"\xff").code == "INVALID_ARGUMENT"
    watching = channel.unary_stream(f"{HEALTH}/Watch")
    for request, status in ((b"", 1), (unknown, 3)):
        watch = watching(request, ANSWER_S)
        assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == status
        watch.cancel()
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        next(watching(b"\xff", ANSWER_S))


def test_reflection_shows_all_services_and_their_messages(channel: grpc.Channel) -> None:
    """So that tools such as grpcurl need no .proto file."""
    shown = ProtoReflectionDescriptorDatabase(channel)
    assert set(shown.get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    }
    for name in ("inference.ModelInferRequest", "tensorflow.TensorProto", "google.protobuf.Any"):
        file = shown.FindFileContainingSymbol(name)
        assert name.rpartition(".")[2] in [message.name for message in file.message_type]


@pytest.mark.parametrize("message", [b"", b"\xff", b"\x1a\x01x", b"\x2a\x04\x0a\x00\x10\x01", b"\x32\x01x"])
def test_reflection_refuses_in_its_own_form(channel: grpc.Channel, message: bytes) -> None:
    """What it does not know, and what is no request: each in a message, and the stream goes on."""
    answers = channel.stream_stream(REFLECT)(iter([message, message]), ANSWER_S)
    read = [reflection_pb2.ServerReflectionResponse.FromString(answer) for answer in answers]
    assert [answer.WhichOneof("message_response") for answer in read] == ["error_response"] * 2


def test_those_who_watch_leave_room_for_those_who_ask(served: Server) -> None:
    """`Watch` and reflection need no key, and the server takes 1,024 calls in all."""
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(served)) for _ in range(4)]
        watches = [channel.unary_stream(f"{HEALTH}/Watch")(b"", ANSWER_S) for channel in channels for _ in range(250)]
        refused = [failure(error) for watch in watches if (error := first_error(watch)) is not None]
        assert {outcome.code for outcome in refused} == {"RESOURCE_EXHAUSTED"}
        assert "at most 256 open calls" in refused[0].sentence
        assert len(refused) == 1000 - 256
        assert ask(served, INFER, infer()).code == "OK"


def first_error(watch: Any) -> Any:
    """How a call ended before its first answer."""
    try:
        next(watch)
    except grpc.RpcError as error:
        return error
    return None


def test_requests_are_counted_by_protocol(served: Server, channel: grpc.Channel) -> None:
    """With the names that traces have."""

    def counted(protocol: str) -> float:
        lines = served.ask(get_request("/metrics")).body.decode().splitlines()
        found = [line for line in lines if line.startswith("rlway_protocol_requests_total") and protocol in line]
        return sum(float(line.split()[-1]) for line in found)

    before = counted('"oip-grpc"'), counted('"tfs-grpc"')
    call(channel, INFER, infer())
    call(channel, PREDICT, predict())
    assert (counted('"oip-grpc"'), counted('"tfs-grpc"')) == (before[0] + 1, before[1] + 1)
