"""KServe's own clients: its REST client with both protocols, and its gRPC client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.foreign.conftest import ForeignServer
from tests.foreign.programs import Answers, run_program
from tests.foreign.proofs import PlaysEverything

CLIENTS = {
    "rest-v1": "KServe REST v1",
    "rest-v2": "KServe REST v2",
    "rest-v2-json": "KServe REST v2, JSON",
    "grpc": "KServe gRPC",
}


@pytest.fixture(scope="module", params=CLIENTS)
def answers(request: pytest.FixtureRequest, foreign: ForeignServer, tmp_path_factory: Any) -> Answers:
    """All tasks through one transport."""
    address = foreign.grpc if request.param == "grpc" else foreign.http
    client, folder = CLIENTS[request.param], tmp_path_factory.mktemp("recorded")
    return run_program(client, ".venv-kserve", "asks_kserve", [request.param, address], foreign.models, folder, [])


class TestKServe(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"HTTPStatusError", "AioRpcError"})

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """The server is live and ready, and so is the model."""
        described = answers.of("described")["described"]
        assert described["model_ready"] is True
        assert set(described.values()) == {True}
