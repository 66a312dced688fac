"""Intel's ovmsclient, over REST and gRPC: the TensorFlow Serving API without TensorFlow."""

from __future__ import annotations

import pytest

from tests.foreign.programs import Answers, programs_of
from tests.foreign.proofs import PlaysEverything

pytestmark = pytest.mark.parametrize("answers", programs_of("asks_ovms"), indirect=True, scope="module", ids=str)


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
