"""openpi-client: its policy, its ActionChunkBroker and its Runtime."""

from __future__ import annotations

import pytest

from tests.foreign.programs import Answers, programs_of
from tests.foreign.proofs import PlaysEverything

pytestmark = pytest.mark.parametrize("answers", programs_of("asks_openpi"), indirect=True, scope="module", ids=str)


class TestOpenpi(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"RuntimeError", "InvalidStatus"})  # of a request; of a connection

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """The metadata comes first, and names policy, version and horizon; float64 is taken."""
        described = answers.of("described")["described"]
        assert described["metadata"]["policy"] == described["default"]["policy"] == "balancing"
        assert described["metadata"]["version"] == 1
        assert described["metadata"]["action_horizon"] == 1
        assert "actions" in described["answer"]

    def check_sentences(self, sentences: dict[str, str]) -> None:
        """A policy that does not exist is told of before the connection is one; the client shows the status only."""
        assert "HTTP 404" in sentences["policy"]
        super().check_sentences({**sentences, "policy": "nobody"})
