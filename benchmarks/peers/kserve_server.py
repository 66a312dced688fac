"""KServe: a custom predictor without batching, because KServe's batcher is a separate process."""

from __future__ import annotations

from typing import Any

from kserve import Model, ModelServer
from session import Session


class PolicyModel(Model):  # type: ignore[misc]
    """`instances` in, `predictions` out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.session = Session()
        self.ready = True

    async def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        return {"predictions": self.session.act(payload["instances"]).tolist()}


if __name__ == "__main__":
    ModelServer().start([PolicyModel("cartpole")])
