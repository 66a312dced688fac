"""A server that has reached its limit of open files."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from rlway_serve.system.open_files import allow_connections, is_caused_by_open_files, open_files_are_exhausted
from tests.bundles import linear_policy
from tests.servers import ANSWER_S, Server, Wire, act_request, get_request, running_server, wait_until

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}
CROWD = 200
CPU_SHARE = 0.5  # a server that polls without a pause uses a whole core


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that looks at its models often, with one process or several."""
    models = tmp_path_factory.mktemp("descriptors") / "models"
    linear_policy(models)
    options = ["--workers", str(request.param), "--poll-s", "0.05"]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server
        assert server.stop() == 0


def serving_processes(server: Server) -> list[psutil.Process]:
    parent = psutil.Process(server.process.pid)
    return parent.children() or [parent]


def limit_files(process: psutil.Process, count: int) -> None:
    _, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (count, hard))


def act(wire: Wire) -> int:
    wire.send(act_request(BODY))
    return wire.answer().status


def asked(wire: Wire) -> Wire:
    """A connection that the server has accepted."""
    assert act(wire) == 200
    return wire


@contextmanager
def full_table(server: Server, stack: ExitStack, spare: int) -> Iterator[list[socket.socket]]:
    """Leaves every process of the server `spare` files, and opens more connections than fit."""
    for process in serving_processes(server):
        limit_files(process, process.num_fds() + spare)
    yield [stack.enter_context(socket.create_connection((server.host, server.port), ANSWER_S)) for _ in range(CROWD)]


def cpu_s(server: Server) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in serving_processes(server))


@pytest.mark.parametrize("spare", [5, -2], ids=["few are left", "not even the server's own"])
def test_a_crowd_waits_until_there_is_room(server: Server, spare: int) -> None:
    """Open connections are answered. The others wait, and the server does not spin trying to accept them."""
    with ExitStack() as stack:
        staying = stack.enter_context(server.connect())
        assert act(staying) == 200
        with full_table(server, stack, spare) as crowd:
            before_s, clock = cpu_s(server), os.times().elapsed
            while os.times().elapsed - clock < 1.0:
                assert act(staying) == 200
                staying.socket.settimeout(0.02)
                with pytest.raises(TimeoutError):
                    staying.socket.recv(1)
                staying.socket.settimeout(ANSWER_S)
            assert (cpu_s(server) - before_s) / (os.times().elapsed - clock) < CPU_SHARE
            waits = server.log.read_text().count("connections have to wait: Too many open files")
            assert 1 <= waits <= len(serving_processes(server))  # each process logs it at most once a minute
            for process in serving_processes(server):
                limit_files(process, 1000)
            for connection in crowd:
                connection.sendall(act_request(BODY))
            for connection in crowd:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_version_that_came_meanwhile_acts_once_there_is_room(server: Server) -> None:
    """It does not count as broken, and the log says once what is missing."""
    with ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(4)]
        assert [act(wire) for wire in wires] == [200] * 4
        with full_table(server, stack, 0) as crowd:
            wait_until(lambda: "models: cannot be read" in server.log.read_text(), "the folder to be looked at")
            linear_policy(server.log.with_name("models"), version=2)
            for connection in crowd:
                connection.close()
            for process in serving_processes(server):
                limit_files(process, 1000)

            def all_swapped() -> bool:
                for wire in wires:
                    wire.send(act_request(BODY))
                return all(wire.answer().json["version"] == 2 for wire in wires)

            wait_until(all_swapped, "version 2 to act")
    text = server.log.read_text()
    assert text.count("models: cannot be read: Too many open files") <= 2 * len(serving_processes(server))
    assert "Not served" not in text


def test_no_more_connections_are_promised_than_the_system_allows(tmp_path: Path, log: Path) -> None:
    """Files for models and keys stay free; one connection too many gets an answer, and is not cut off."""
    linear_policy(tmp_path / "models")
    limited = ("sh", "-c", 'ulimit -n 80; exec "$0" "$@"')
    with running_server(tmp_path / "models", log, prefix=limited) as server, ExitStack() as stack:
        wires = [asked(stack.enter_context(server.connect())) for _ in range(40)]
        assert server.ask(get_request("/healthz")).status == 503
        linear_policy(tmp_path / "models", version=2)
        wait_until(lambda: act_version(wires[0]) == 2, "version 2 to act")
    assert "so 40 connections" in log.read_text()


def act_version(wire: Wire) -> int:
    wire.send(act_request(BODY))
    version: int = wire.answer().json["version"]
    return version


def test_a_failure_for_want_of_files_is_told_from_others() -> None:
    """Also if it was wrapped; while no file can be opened, every failure counts as one."""
    assert allow_connections(1) == 1
    wrapped = ValueError("no model")
    wrapped.__cause__ = OSError(24, "Too many open files")
    assert is_caused_by_open_files(wrapped)
    assert not is_caused_by_open_files(ValueError("no model"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        exhausted = open_files_are_exhausted()
        unsure = is_caused_by_open_files(ValueError("no model"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert exhausted
    assert unsure
