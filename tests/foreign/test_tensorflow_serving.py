"""tensorflow-serving-api's own stubs with `tf.make_tensor_proto`, with both signatures."""

from __future__ import annotations

import numpy as np
import pytest

from tests.foreign.bundles import BALANCE
from tests.foreign.programs import Answers, programs_of
from tests.foreign.proofs import PlaysEverything

pytestmark = pytest.mark.parametrize(
    "answers", programs_of("asks_tensorflow_serving"), indirect=True, scope="module", ids=str
)


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
        (version,) = described["status"]["model_version_status"]
        assert (version["version"], version["state"]) == ("1", "AVAILABLE")

    def test_named_outputs_come_beside_the_action(self, answers: Answers) -> None:
        """`output_filter` names `q_values`; the answer says which version it comes from."""
        recorded = answers.arrays("outputs")
        np.testing.assert_array_equal(recorded["action"], recorded["q_values"].argmax(1))
        np.testing.assert_allclose(recorded["q_values"], recorded["observation"] @ BALANCE, rtol=1e-5)
        assert answers.of("outputs")["spec"]["version"] == "1"
