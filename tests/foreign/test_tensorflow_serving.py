"""tensorflow-serving-api's own stubs with `tf.make_tensor_proto`, with both signatures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.foreign.bundles import BALANCE
from tests.foreign.conftest import ForeignServer
from tests.foreign.programs import Answers, run_program
from tests.foreign.proofs import PlaysEverything

CLIENTS = {"serving_default": "tensorflow-serving-api", "action": "tensorflow-serving-api, time steps"}


@pytest.fixture(scope="module", params=CLIENTS)
def answers(request: pytest.FixtureRequest, foreign: ForeignServer, tmp_path_factory: Any) -> Answers:
    """All tasks with one signature."""
    client, folder = CLIENTS[request.param], tmp_path_factory.mktemp("recorded")
    words = [request.param, foreign.grpc]
    program = "asks_tensorflow_serving"
    return run_program(client, ".venv-train", program, words, foreign.models, folder, ["outputs"])


class TestTensorFlowServing(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"_InactiveRpcError"})

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """The version that is meant, the signatures, and the state of each version."""
        described = answers.of("described")["described"]
        assert described["spec"]["name"] == "balancing"
        assert described["spec"]["version"] == "1"
        signature = described["signatures"]["serving_default"]
        assert signature["methodName"] == "tensorflow/serving/predict"
        assert signature["inputs"]["observation"]["dtype"] == "DT_FLOAT"
        assert signature["outputs"]["action"]["dtype"] == "DT_INT64"
        (version,) = described["status"]["modelVersionStatus"]
        assert (version["version"], version["state"]) == ("1", "AVAILABLE")

    def test_named_outputs_come_beside_the_action(self, answers: Answers) -> None:
        """`output_filter` names `q_values`; the answer says which version it comes from."""
        recorded = answers.arrays("outputs")
        np.testing.assert_array_equal(recorded["action"], recorded["q_values"].argmax(1))
        np.testing.assert_allclose(recorded["q_values"], recorded["observation"] @ BALANCE, rtol=1e-5)
        assert answers.of("outputs")["spec"]["version"] == "1"
