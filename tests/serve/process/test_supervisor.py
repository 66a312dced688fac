"""Several workers on one port: one that dies is replaced, and the others go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.bundles import linear_policy
from tests.servers import (
    ACT,
    PATIENCE_S,
    RLWAY,
    Server,
    Wire,
    act_request,
    get_request,
    read_metrics,
    refuses_connections,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers."""
    models = tmp_path_factory.mktemp("pair") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log"), "--workers", "2") as server:
        yield server


def worker_pids(server: Server) -> set[int]:
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def pid_of(wire: Wire, pids: set[int]) -> int:
    """The worker at the other end of a connection."""
    port = wire.socket.getsockname()[1]
    for pid in pids:
        if any(c.raddr and c.raddr.port == port for c in psutil.Process(pid).net_connections("tcp")):
            return pid
    raise AssertionError("no worker has this connection")


def connect_to_each(server: Server, pids: set[int]) -> dict[int, Wire]:
    """A connection to every worker, by process id; the kernel chooses the worker, so this tries often enough."""
    wires: dict[int, Wire] = {}
    for _ in range(200):
        wire = server.connect()
        wire.send(act_request(BODY))
        assert wire.answer().status == 200
        pid = pid_of(wire, pids)
        if pid in wires:
            wire.socket.close()
        else:
            wires[pid] = wire
        if len(wires) == len(pids):
            return wires
    raise AssertionError(f"connections reach only {set(wires)} of {pids}")


def test_all_workers_answer_on_one_port(pair: Server) -> None:
    """The ready line has one address, and the kernel spreads connections over the workers."""
    assert pair.policies == [{"name": "linear", "version": 1}]
    pids = worker_pids(pair)
    assert len(pids) == 2
    for wire in connect_to_each(pair, pids).values():
        wire.socket.close()


def test_metrics_are_those_of_all_workers(pair: Server) -> None:
    """Every worker shows the sum of all counts, and each counts once."""
    before = read_metrics(pair).get(("rlway_requests_total", "linear", "1", "200"), 0)
    wires = connect_to_each(pair, worker_pids(pair))
    after = read_metrics(pair)["rlway_requests_total", "linear", "1", "200"]
    for wire in wires.values():
        for _ in range(10):
            wire.send(act_request(BODY))
            wire.answer()
    for wire in wires.values():
        wire.send(get_request("/metrics"))
        assert (
            f'rlway_requests_total{{policy="linear",status="200",version="1"}} {after + 20}'
            in wire.answer().body.decode()
        )
        wire.socket.close()
    assert after >= before + 2


def test_a_killed_worker_is_replaced_and_the_other_never_notices(pair: Server) -> None:
    """The other worker's connections go on, new ones are served, and the dead worker's counts stay."""
    pids = worker_pids(pair)
    wires = connect_to_each(pair, pids)
    counted = read_metrics(pair)["rlway_requests_total", "linear", "1", "200"]
    victim, other = sorted(pids)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(ConnectionError):
        wires[victim].answer()
    for _ in range(50):
        wires[other].send(act_request(BODY))
        assert wires[other].answer().status == 200
    wait_until(lambda: len(worker_pids(pair) - {victim}) == 2, "a new worker")
    wait_until(lambda: "ready as process" in pair.log.read_text(), "it to be ready")
    assert read_metrics(pair)["rlway_requests_total", "linear", "1", "200"] == counted + 50
    for wire in connect_to_each(pair, worker_pids(pair)).values():
        wire.socket.close()
    assert "was ended by SIGKILL; it is replaced" in pair.log.read_text()


@pytest.mark.parametrize("away", ["models", "keys"])
def test_a_replacement_that_cannot_start_stops_nobody(tmp_path: Path, log: Path, away: str) -> None:
    """The other worker goes on while models or keys are missing; once they are back, a replacement starts."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("key\n")
    request = act_request(BODY, headers=["authorization: Bearer key"])
    options = ["--workers", "2", "--api-keys", str(tmp_path / "keys")]
    with running_server(tmp_path / "models", log, *options) as server:
        pids = worker_pids(server)
        with server.connect() as wire:
            wire.send(request)
            assert wire.answer().status == 200
            other = pid_of(wire, pids)
            (tmp_path / away).rename(tmp_path / "away")
            (victim,) = pids - {other}
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: log.read_text().count("it is replaced") >= 2, "the replacements to fail")
            wire.send(request)
            assert wire.answer().status == 200
            (tmp_path / "away").rename(tmp_path / away)
            wait_until(lambda: "ready as process" in log.read_text(), "a replacement to be ready")
            assert len(worker_pids(server)) == 2
            wire.send(request)
            assert wire.answer().status == 200
        assert server.stop() == 0


def test_workers_end_with_their_server(tmp_path: Path, log: Path) -> None:
    """On SIGTERM kept connections are closed, every process ends, and the status is 0."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--workers", "2") as server:
        pids = worker_pids(server)
        wires = connect_to_each(server, pids)
        server.process.send_signal(signal.SIGTERM)
        for wire in wires.values():
            assert wire.rest() == b""
        assert server.process.wait(PATIENCE_S) == 0
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert refuses_connections(server)
        assert "Traceback" not in log.read_text()


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, log: Path) -> None:
    """Workers end when their parent was killed, so that the port becomes free."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--workers", "2") as server:
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        server.process.kill()
        assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--default", "nobody", "--poll-s", "0"], ["nobody", "linear"]),
        (["--api-keys", "nowhere"], ["--api-keys nowhere"]),
    ],
    ids=" ".join,
)
def test_a_worker_that_cannot_start_stops_the_server(tmp_path: Path, options: list[str], words: list[str]) -> None:
    """The server ends with the worker's sentence and status, printed once."""
    linear_policy(tmp_path / "models")
    command = [str(RLWAY), "serve", str(tmp_path / "models"), "--port", "0", "--workers", "2", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_folder_for_temporary_files_that_will_not_do_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its path is too long for a socket, one sentence says what to set."""
    linear_policy(tmp_path / "models")
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    command = [str(RLWAY), "serve", str(tmp_path / "models"), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "TMPDIR" in done.stderr


def test_a_port_in_use_is_not_shared_with_strangers(tmp_path: Path, pair: Server) -> None:
    """Another server's port is refused, although its workers share it."""
    linear_policy(tmp_path / "models")
    command = [str(RLWAY), "serve", str(tmp_path / "models"), "--port", str(pair.port), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--port {pair.port}: in use" in done.stderr


def test_a_second_route_reaches_a_worker_too(pair: Server) -> None:
    """Every worker has the FastAPI lane."""
    for wire in connect_to_each(pair, worker_pids(pair)).values():
        wire.send(act_request(BODY, lane="query", path=ACT))
        assert wire.answer().json == {"action": 0, "version": 1}
        wire.socket.close()
