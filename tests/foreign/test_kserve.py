"""KServe's own clients: its REST client with both protocols, and its gRPC client."""

from __future__ import annotations

import pytest

from tests.foreign.programs import Answers, programs_of
from tests.foreign.proofs import PlaysEverything

pytestmark = pytest.mark.parametrize("answers", programs_of("asks_kserve"), indirect=True, scope="module", ids=str)


class TestKServe(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"HTTPStatusError", "AioRpcError"})

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """The server is live and ready, and so is the model."""
        described = answers.of("described")["described"]
        assert described["model_ready"] is True
        assert set(described.values()) == {True}
