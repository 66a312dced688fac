"""NVIDIA's tritonclient, over HTTP, gRPC and a gRPC stream."""

from __future__ import annotations

import numpy as np
import pytest

from tests.foreign.bundles import BALANCE
from tests.foreign.programs import Answers, programs_of
from tests.foreign.proofs import PlaysEverything

pytestmark = pytest.mark.parametrize("answers", programs_of("asks_triton"), indirect=True, scope="module", ids=str)


class TestTriton(PlaysEverything):
    """Everything, and what only this client asks."""

    errors = frozenset({"InferenceServerException"})

    def test_the_description_is_what_the_client_expects(self, answers: Answers) -> None:
        """Health, metadata, configuration, statistics and the index of models, each read by the client."""
        described = answers.of("described")["described"]
        assert described["live"]
        assert described["ready"]
        assert described["model_ready"]
        assert described["server"]["name"]
        assert "sequence" in described["server"]["extensions"]
        assert described["model"]["name"] == "balancing"
        tensors = {tensor["name"]: tensor for kind in ("inputs", "outputs") for tensor in described["model"][kind]}
        assert tensors["observation"]["datatype"] == "FP32"
        assert [int(n) for n in tensors["observation"]["shape"]] == [-1, 4]
        assert tensors["action"]["datatype"] == "INT64"
        assert "q_values" in tensors
        assert described["config"]["name"] == "balancing"
        assert described["config"]["max_batch_size"] > 0
        (statistics,) = described["statistics"]["model_stats"]
        assert int(statistics["inference_count"]) >= 5000  # rows of cartpole
        assert {model["name"] for model in described["index"]} >= {"balancing", "swinging", "summing"}

    def test_named_outputs_come_beside_the_action(self, answers: Answers) -> None:
        """`q_values`, in their rows."""
        recorded = answers.arrays("outputs")
        np.testing.assert_array_equal(recorded["action"], recorded["q_values"].argmax(1))
        np.testing.assert_allclose(recorded["q_values"], recorded["observation"] @ BALANCE, rtol=1e-5)
