"""Intel's ovmsclient, over REST and gRPC: the TensorFlow Serving API without TensorFlow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.foreign.conftest import ForeignServer
from tests.foreign.programs import Answers, run_program
from tests.foreign.proofs import PlaysEverything

CLIENTS = {"http": "ovmsclient http", "grpc": "ovmsclient grpc"}


@pytest.fixture(scope="module", params=CLIENTS)
def answers(request: pytest.FixtureRequest, foreign: ForeignServer, tmp_path_factory: Any) -> Answers:
    """All tasks through one transport."""
    client, folder = CLIENTS[request.param], tmp_path_factory.mktemp("recorded")
    words = [request.param, foreign.grpc if request.param == "grpc" else foreign.http]
    return run_program(client, ".venv", "asks_ovms", words, foreign.models, folder, [])


class TestOvms(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"InvalidInputError", "ModelNotFoundError"})

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """The state of each version; the tensors of the signature."""
        described = answers.of("described")["described"]
        assert described["status"]["1"] == {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
        text = str(described["metadata"])
        assert "observation" in text
        assert "DT_FLOAT" in text
