"""The gRPC port of a server: how it opens, is shared by workers, and closes."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from tests.bundles import linear_policy, q_network_policy
from tests.rpc import HEALTH, INFER, LEFT, Talk, ask, call, channel_to, failure, infer, read_streamed
from tests.serve.registry.test_startup import fail_to_serve
from tests.servers import ANSWER_S, PATIENCE_S, RLWAY, Server, get_request, running_server, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def models(tmp_path: Path) -> Path:
    linear_policy(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def server(models: Path, log: Path) -> Iterator[Server]:
    """A server to stop, with a policy whose runs take long."""
    q_network_policy(models, "slow", (2048, 2048, 2048))
    with running_server(models, log, "--grpc-port", "0", "--max-rows", "50000", "--queue-capacity", "50000") as server:
        yield server


def test_the_ready_line_shows_the_address(models: Path) -> None:
    """In text as in JSON, where clients take it as it is."""
    command = [str(RLWAY), "serve", str(models), "--port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.partition(" and gRPC at ")[2].split()[0]
        with grpc.insecure_channel(address) as channel:
            assert call(channel, INFER, infer([LEFT])).action == [1]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")


def test_no_gRPC_without_its_option(models: Path, log: Path) -> None:  # noqa: N802
    """The ready line names no address, and neither gRPC nor protobuf is loaded."""
    with running_server(models, log) as server:
        assert server.grpc is None
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "cygrpc" not in mapped
    assert "google/_upb" not in mapped


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_named(models: Path, workers: str) -> None:
    """Before anything is served, with one worker or several."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = fail_to_serve(models, "--grpc-port", str(port), "--workers", workers)
    assert f"--grpc-port {port}: in use on 127.0.0.1" in said


def test_packages_that_are_missing_are_named(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs them."""
    broken = tmp_path / "broken" / "grpc"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    assert "--grpc-port: gRPC is not installed; pip install grpcio" in fail_to_serve(models, "--grpc-port", "0")


def test_workers_share_the_port(models: Path, log: Path) -> None:
    """Connections spread over them; one that is killed is replaced, and both answer again."""
    with running_server(models, log, "--grpc-port", "0", "--workers", "2") as server:
        workers = {child.pid: child for child in psutil.Process(server.process.pid).children()}
        with ExitStack() as stack:
            channels = [stack.enter_context(channel_to(server)) for _ in range(40)]
            assert [call(channel, INFER, infer([LEFT])).action for channel in channels] == [[1]] * 40
            port = int(server.grpc.rpartition(":")[2]) if server.grpc else 0
            connections = {pid: connections_to(port, worker) for pid, worker in workers.items()}
            assert (len(workers), sum(connections.values())) == (2, 40)
            assert min(connections.values()) > 0
        next(iter(workers.values())).kill()
        wait_until(lambda: "ready as process" in log.read_text(), "the worker to be replaced")
        assert [ask(server, INFER, infer([LEFT])).action for _ in range(20)] == [[1]] * 20
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


def connections_to(port: int, worker: psutil.Process) -> int:
    """How many connections of a worker came by this port."""
    return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in worker.net_connections())


def test_an_idle_server_ends_at_once(server: Server) -> None:
    """Although streams and watchers are open: watchers are told first, and streams end with UNAVAILABLE."""
    with channel_to(server) as channel:
        talk = Talk(channel)
        talk.send(infer([LEFT]))
        assert not read_streamed(talk.receive()).error_message
        watch = channel.unary_stream(f"{HEALTH}/Watch")(b"", ANSWER_S)
        assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == 1
        server.process.send_signal(signal.SIGTERM)
        assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == 2
        with pytest.raises(grpc.RpcError) as caught:
            talk.receive()
        assert failure(caught.value)[:2] == ("UNAVAILABLE", "the server is stopping; ask another.")
        talk.end()
        assert server.process.wait(PATIENCE_S) == 0
        assert call(channel, INFER, infer()).code == "UNAVAILABLE"
    assert "Traceback" not in server.log.read_text()


def test_a_stop_answers_what_is_in_flight(server: Server) -> None:
    """Calls and streamed requests that wait for a long run get their answers, and further ones are refused."""
    large = infer(np.zeros((20_000, 4)), model="slow")
    with channel_to(server) as channel:
        waiting = channel.unary_unary(INFER).future(large, ANSWER_S)
        talk = Talk(channel)
        talk.send(infer(np.zeros((20_000, 4)), model="slow"))
        wait_until(lambda: asked(server) >= 2, "both requests to arrive")
        server.process.send_signal(signal.SIGTERM)
        assert waiting.exception() is None
        assert not read_streamed(talk.receive()).error_message
        with pytest.raises(grpc.RpcError):
            talk.receive()
        talk.end()
    assert server.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("_", range(2))
def test_a_stop_ends_calls_beyond_its_time(models: Path, log: Path, _: int) -> None:
    """After `--drain-s`, with status 0: gRPC crashed in one of six such stops."""
    q_network_policy(models, "slow", (2048, 2048, 2048))
    message = infer(np.zeros((3_000, 4)), model="slow")
    options = ["--grpc-port", "0", "--queue-capacity", "200000", "--drain-s", "0.3"]
    with running_server(models, log, *options) as server, channel_to(server) as channel:
        calls = [channel.unary_unary(INFER).future(message, ANSWER_S) for _ in range(40)]
        wait_until(lambda: asked(server) >= 40, "all requests to arrive")
        server.process.send_signal(signal.SIGTERM)
        assert {failure(error).code for one in calls if (error := one.exception())} <= {"UNAVAILABLE"}
        assert server.process.wait(PATIENCE_S) == 0


def asked(server: Server) -> float:
    lines = server.ask(get_request("/metrics")).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("rlway_protocol_requests_total"))


def test_a_second_interrupt_waits_for_nobody(server: Server) -> None:
    """Ctrl-C twice ends a server whose calls are still running."""
    with channel_to(server) as channel:
        calls = [
            channel.unary_unary(INFER).future(infer(np.zeros((20_000, 4)), model="slow"), ANSWER_S) for _ in range(2)
        ]
        wait_until(lambda: asked(server) >= 2, "both requests to arrive")
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            threading.Event().wait(0.3)
        assert server.process.wait(PATIENCE_S) == 0
        assert {failure(error).code for one in calls if (error := one.exception())} <= {"UNAVAILABLE", "CANCELLED"}


def test_both_ports_share_the_open_files(models: Path, log: Path) -> None:
    """Each takes as many connections as fit on both of them."""
    limited = ["prlimit", "--nofile=1000:1000"]
    with running_server(models, log, "--grpc-port", "0", prefix=limited) as server:
        assert ask(server, INFER, infer([LEFT])).action == [1]
    assert "the system allows 1000 open files, so 372 connections of each port" in log.read_text()
