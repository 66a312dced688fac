"""What is taken from uvicorn: all of it in one module, of versions that have it, and doing what is needed here."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from tests.in_process import InProcessServer
from tests.servers import act_request, get_request

SERVE = Path(__file__).parents[3] / "serve"
INSIDES = SERVE / "rlway_serve/transport/_uvicorn.py"


def imports_of(file: Path) -> set[str]:
    """The modules of uvicorn that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return {name for name in names if name.partition(".")[0] == "uvicorn"}


def test_the_insides_are_used_in_one_module() -> None:
    """Elsewhere only `import uvicorn` occurs, for its public Config and Server."""
    others = {name for file in SERVE.rglob("*.py") if file != INSIDES for name in imports_of(file)}
    assert others == {"uvicorn"}
    assert len(imports_of(INSIDES)) > 1


def test_the_requirement_has_an_upper_bound() -> None:
    """A version of uvicorn that nobody has tried is not installed."""
    project = tomllib.loads((SERVE / "pyproject.toml").read_text())["project"]
    (requirement,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "uvicorn")
    assert {bound.operator for bound in requirement.specifier} == {">=", "<"}
    assert version("uvicorn") in requirement.specifier


def test_the_names_are_there() -> None:
    """Parameters and attributes of the classes that are used."""
    parameters = set(inspect.signature(RequestResponseCycle).parameters)
    assert parameters == {
        "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
        "expect_100_continue", "keep_alive", "on_response",
    }  # fmt: skip
    assert {"run_asgi", "send", "receive"} <= set(dir(RequestResponseCycle))
    assert {"pause_reading", "resume_reading", "pause_writing", "resume_writing", "drain"} <= set(dir(FlowControl))
    state = ServerState()
    assert state.total_requests == 0
    assert (state.connections, state.tasks, state.default_headers) == (set(), set(), [])
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert {"startup", "shutdown", "handle_exit", "run"} <= set(dir(uvicorn.Server))


class Application:
    """Notes which requests it was begun with, and which of them heard that the peer is gone."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.disconnected: list[str] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:  # noqa: ARG002
        self.begun.append(scope["path"])
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.append(scope["path"])
                return


@pytest.fixture(scope="module")
def application() -> Application:
    return Application()


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory, application: Application) -> InProcessServer:
    return InProcessServer(tmp_path_factory.mktemp("connections"), application)


@pytest.mark.parametrize(
    ("packet", "begun"),
    [
        (get_request("/a"), ["/a"]),
        (get_request("/a") + get_request("/b"), ["/a"]),
        (get_request("/a") + get_request("/b") + get_request("/c"), ["/a"]),
        (act_request({"observation": [1, 0, 0, 0]}) + get_request("/a") + get_request("/b"), ["/a"]),
        (act_request(b"x" * 20, lane="query")[:-5], ["/v1/policies/linear/act"]),
        (get_request("/a") + act_request(b"x" * 20, lane="query")[:-5], ["/a"]),
    ],
    ids=["alone", "pipelined", "three", "behind the hot lane", "within its body", "before an unfinished one"],
)
def test_a_request_hears_that_its_peer_is_gone(
    connections: InProcessServer, application: Application, packet: bytes, begun: list[str]
) -> None:
    """The request that runs does, also when others were pipelined behind it; and none of these begins any more."""
    application.begun, application.disconnected = [], []
    connections.reset(packet)
    assert application.begun == begun
    assert application.disconnected == begun
