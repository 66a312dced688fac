"""MLServer: a custom runtime; its two settings files turn on adaptive batching and keep it in one process."""

from __future__ import annotations

from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import Session


class Policy(MLModel):  # type: ignore[misc]
    """A request of the Open Inference Protocol, of as many rows as were gathered."""

    async def load(self) -> bool:
        self.session = Session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        observations: Any = NumpyCodec.decode_input(payload.inputs[0])
        actions = self.session.act(observations)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("action", actions)])
