"""A wall clock that jumps by hours, and a process that stands still for a while, must not matter to callers."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.bundles import linear_policy, q_network_policy
from tests.ports import wait_for
from tests.servers import (
    ANSWER_S,
    OCTETS,
    PATIENCE_S,
    Server,
    Wire,
    act_request,
    get_request,
    read_metrics,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}
HOUR_S = 3600
SLOW = "/v1/policies/slow/act"
SLOW_ROWS = np.zeros((8_000, 4), "<f4").tobytes()
STILL_S = 4.0


class WallClock:
    """Of the server alone; its file is looked at whenever the time is asked for."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("the clock is made with a C compiler, and there is none")
        library = folder / "wall_clock.so"
        source = Path(__file__).with_name("wall_clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self._file = folder / "seconds"
        self._file.write_bytes(bytes(8))
        self.prefix = ("env", f"WALL_CLOCK={self._file}", f"LD_PRELOAD={library}")

    def be_off(self, seconds: int) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", seconds))


def act(wire: Wire, **options: object) -> int:
    wire.send(act_request(BODY | options))
    return wire.answer().status


def date_of(server: Server) -> float:
    """What the server takes for the time."""
    with server.connect() as wire:
        wire.send(get_request("/healthz", "connection: close"))
        lines = wire.rest().decode().lower().split("\r\n")
    date = next(line.removeprefix("date: ") for line in lines if line.startswith("date: "))
    return parsedate_to_datetime(date).timestamp()


def version_of(wire: Wire) -> int:
    wire.send(act_request(BODY))
    version: int = wire.answer().json.get("version", 0)
    return version


def test_a_wall_clock_that_jumps_changes_nothing_but_dates(tmp_path: Path, log: Path) -> None:
    """Hours forward, then back: deadlines, time-outs, episodes, rates and polling go by another clock."""
    clock = WallClock(tmp_path)
    linear_policy(tmp_path / "models")
    options = ["--poll-s", "0.1", "--keep-alive-s", "2.5", "--header-timeout-s", "4", "--body-timeout-s", "4"]
    options += ["--episode-ttl-s", "60", "--max-rate", "200"]
    request = act_request(BODY)
    with running_server(tmp_path / "models", log, *options, prefix=clock.prefix) as server:
        began_s = date_of(server)
        with server.connect() as kept, server.connect() as in_headers, server.connect() as in_body:
            assert act(kept, episode="robot", first=True) == 200
            for number, hours in enumerate([6, -6], 2):
                in_headers.send(request[:40])
                in_body.send(request[:-3])
                assert act(kept) == 200
                clock.be_off(hours * HOUR_S)
                wait_until(lambda at=hours: (date_of(server) - began_s) * at > 5 * HOUR_S, "dates to follow")  # type: ignore[misc]
                assert act(kept, episode="robot") == 200
                assert act(kept, deadline_ms=5000) == 200
                in_headers.send(request[40:])
                in_body.send(request[-3:])
                assert [in_headers.answer().status, in_body.answer().status] == [200, 200]
                linear_policy(tmp_path / "models", version=number)
                wait_for(lambda new=number: version_of(kept) == new, "the new version to act")  # type: ignore[misc]
            kept.send(request * 250)
            assert {kept.answer().status for _ in range(250)} == {200, 429}
            clock.be_off(-12 * HOUR_S)
            wait_for(lambda: act(kept) == 200, "the rate to allow it again")
            in_body.socket.settimeout(ANSWER_S)
            assert in_body.rest() == b""  # idle for some seconds, and not until the clock has made up six hours
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@contextmanager
def standing_still(processes: list[psutil.Process]) -> Iterator[None]:
    """For longer than any of the server's time-outs."""
    for process in processes:
        process.suspend()
    yield
    assert not threading.Event().wait(STILL_S)
    for process in processes:
        process.resume()


def test_a_process_that_stood_still_reads_before_it_judges(tmp_path: Path, log: Path) -> None:
    """What came in time while it did not run is answered, whatever time-out has passed; no worker is replaced."""
    linear_policy(tmp_path / "models")
    options = ["--keep-alive-s", "3.3", "--header-timeout-s", "3", "--body-timeout-s", "3", "--workers", "2"]
    request = act_request(BODY)
    with running_server(tmp_path / "models", log, *options) as server:
        process = psutil.Process(server.process.pid)
        children = process.children()
        wires = [server.connect() for _ in range(6)]
        for wire in wires:
            assert act(wire) == 200
        idle, in_headers, in_body, slow_headers, slow_body, asgi = wires
        in_headers.send(request[:40])
        slow_headers.send(request[:40])
        in_body.send(request[:-3])
        slow_body.send(request[:-3])
        with standing_still([process, *children]):
            idle.send(request)
            in_headers.send(request[40:])
            in_body.send(request[-3:])
            asgi.send(act_request(BODY, lane="query"))
        assert [wire.answer().status for wire in (idle, in_headers, in_body, asgi)] == [200] * 4
        assert [wire.answer().status for wire in (slow_headers, slow_body)] == [408] * 2
        for wire in wires:
            wire.socket.close()
        assert server.ask(request).status == 200
        assert process.children() == children
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0


def test_a_deadline_that_passed_while_the_process_stood_still_is_504(tmp_path: Path, log: Path) -> None:
    """A request that waits for its turn does not run when it is too late."""
    linear_policy(tmp_path / "models")
    q_network_policy(tmp_path / "models", "slow", (2048, 2048, 2048))
    options = ["--queue-capacity", "50000", "--max-rows", "50000"]
    with running_server(tmp_path / "models", log, *options) as server, server.connect() as wire:
        wire.send(act_request(SLOW_ROWS, path=SLOW, media_type=OCTETS))
        wire.send(act_request(BODY | {"deadline_ms": 1000}, path=SLOW) + act_request(BODY, path=SLOW))
        wait_until(lambda: read_metrics(server)["rlway_queue_rows", "slow", "1"] == 2, "two requests to wait")
        with standing_still([psutil.Process(server.process.pid)]):
            pass
        assert [wire.answer().status for _ in range(3)] == [200, 504, 200]
