"""What the doctor says of a port: free, an RLway server, or taken by something else."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlway_client.doctor import asked_server
from rlway_client.doctor.ports import port
from tests.bundles import linear_policy
from tests.clients.remote.peers import answering, peer
from tests.ports import free_port, wait_for
from tests.servers import RLWAY, Server, running_server

HOST = "127.0.0.1"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which this process listens and answers nothing."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port_is_free() -> None:
    found = port(HOST, free_port())
    assert (found.state, found.remedy) == ("free", "")
    assert found.facts["free"]


def test_a_running_server_says_what_it_serves(server: Server) -> None:
    """Nothing is wrong with a port that an RLway server holds."""
    found = port(HOST, server.port)
    assert found.state == f"an RLway server (process {server.process.pid}): ready, serves gaussian v1, linear v1"
    assert found.ok
    assert found.facts["server"]["ready"]
    assert found.facts["holder"]["pid"] == server.process.pid


def test_the_ports_of_a_server_with_keys_and_grpc_are_known(tmp_path: Path) -> None:
    """It asks for a key before it says what it serves; gRPC is not HTTP/1.1, and the process says what it is."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("sesame\n")
    options = ("--api-keys", str(tmp_path / "keys"), "--grpc-port", "0")
    with running_server(tmp_path / "models", tmp_path / "log", *options) as server:
        assert "asks for a key" in port(HOST, server.port).state
        assert "serves linear v1" in port(HOST, server.port, "sesame").state
        assert server.grpc is not None
        spoken = port(HOST, int(server.grpc.rpartition(":")[2]))
        assert "an RLway server" in spoken.state
        assert spoken.ok


def test_a_server_that_is_not_ready_is_wrong(tmp_path: Path) -> None:
    """It has a policy without a sound version."""
    version = linear_policy(tmp_path / "models").path
    (version / "model.onnx").write_bytes(b"")
    number = free_port()  # the server prints its line, with a port that it chose, only when it is ready
    command = [str(RLWAY), "serve", str(tmp_path / "models"), "--port", str(number)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: "an RLway server" in port(HOST, number).state, "the server to listen")
            found = port(HOST, number)
            assert "not ready, knows linear without a version" in found.state
            assert "rlway doctor MODELS" in found.remedy
        finally:
            process.kill()


@pytest.mark.parametrize("body", [b"<html>", b'{"status": "fine"}', b"[]", b'{"status": ["ready"]}'])
def test_another_kind_of_server_is_taken_by_its_process(body: bytes) -> None:
    """Another program's pages, another program's JSON: who holds the port, and how to go on."""
    with peer(answering(body)) as url:
        number = int(url.rpartition(":")[2])
        found = port(HOST, number)
    assert found.state.startswith(f"taken by process {os.getpid()}, ")
    assert f"kill {os.getpid()}" in found.remedy
    assert f"--port {number + 1}" in found.remedy


def test_who_never_answers_is_not_waited_for(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for all that is asked is bounded."""
    monkeypatch.setattr(asked_server, "ANSWER_S", 0.1)
    assert port(HOST, silent).facts["server"] is None
    assert not port(HOST, silent).ok


def test_a_host_of_another_machine_is_wrong() -> None:
    """A server could not listen there: 192.0.2.0/24 is for documentation."""
    found = port("192.0.2.1", 8080)
    assert "cannot be bound on 192.0.2.1" in found.state
    assert "--host" in found.remedy
    assert "is no address" in port("no such host", 8080).state
