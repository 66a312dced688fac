"""The server that each client library asks, and the table of what they got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.bundles import robot_policy, summing_policy
from tests.foreign.bundles import balancing_policy, picture_policy, swinging_policy
from tests.foreign.programs import TASKS, Answers, Program, RunningProgram
from tests.ports import free_port
from tests.servers import Server, running_server

# The columns of the table, by words in the tests' names.
COLUMNS = {
    "cartpole": "CartPole",
    "pendulum": "Pendulum",
    "episodes_do_not_mix": "64 episodes",
    "pictures": "pictures",
    "two_parts": "dict",
    "refusal": "refused",
    "description": "described",
    "outputs": "outputs",
}


class ForeignServer(NamedTuple):
    """Where the clients ask, by what over."""

    addresses: dict[str, str]
    models: Path
    server: Server

    def start(self, program: Program, folder: Path, tasks: Sequence[str], key: str | None = None) -> RunningProgram:
        """Starts a program on these tasks."""
        return RunningProgram(program, self.addresses[program.over], self.models, folder, tasks, key)


@contextmanager
def foreign_server(folder: Path, *options: str) -> Iterator[ForeignServer]:
    """A server with all policies and all protocols; `balancing` is the default."""
    models = folder / "models"
    for write in (balancing_policy, swinging_policy, picture_policy, robot_policy, summing_policy):
        write(models)
    grpc_port = free_port()
    options = ("--grpc-port", str(grpc_port), "--default", "balancing", *options)
    with running_server(models, folder / "log", *options) as server:
        at = f"{server.host}:{server.port}"
        addresses = {"http": at, "ws": f"ws://{at}", "grpc": f"{server.host}:{grpc_port}"}
        yield ForeignServer(addresses, models, server)
        assert server.process.poll() is None, "the server ended"
        assert b"Traceback" not in server.log.read_bytes()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """As the server comes, with gRPC."""
    with foreign_server(tmp_path_factory.mktemp("foreign")) as server:
        yield server


@pytest.fixture(scope="module")
def answers(
    request: pytest.FixtureRequest, foreign: ForeignServer, tmp_path_factory: pytest.TempPathFactory
) -> Answers:
    """All tasks by the program that the module names."""
    program: Program = request.param
    return foreign.start(program, tmp_path_factory.mktemp("recorded"), (*TASKS, *program.further)).finish()


@pytest.fixture(autouse=True)
def _labelled(request: pytest.FixtureRequest, record_property: Any) -> None:
    if "answers" in request.fixturenames:
        answers: Answers = request.getfixturevalue("answers")
        record_property("client", answers.client)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what each client got, one line for each."""
    cells: dict[str, dict[str, str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            if "client" in properties:
                column = next((name for word, name in COLUMNS.items() if word in report.nodeid), "else")
                result = str(properties.get("result", "ok")) if outcome == "passed" else "FAILED"
                cells.setdefault(properties["client"], {})[column] = result
    if not cells:
        return
    columns = [name for name in COLUMNS.values() if any(name in row for row in cells.values())]
    rows = [["client", *columns], *([client, *(row.get(c, "") for c in columns)] for client, row in cells.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    terminalreporter.write_sep("=", "clients that nobody here wrote")
    for row in rows:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
