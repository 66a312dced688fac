"""MLServer: a custom runtime; its two settings files turn on adaptive batching in one process."""

from __future__ import annotations

from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import Session


class PolicyRuntime(MLModel):  # type: ignore[misc]
    """Answers a batch, which comes as one request of the Open Inference Protocol."""

    async def load(self) -> bool:
        self.session = Session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        observations: Any = NumpyCodec.decode_input(payload.inputs[0])
        actions = self.session.act(observations)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("action", actions)])
