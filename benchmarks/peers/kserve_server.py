"""KServe: a custom predictor; its batcher is a process of its own beside it, and not part of the server."""

from __future__ import annotations

from typing import Any

from kserve import Model, ModelServer
from session import Session


class Policy(Model):  # type: ignore[misc]
    """`instances` in, `predictions` out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.session = Session()
        self.ready = True

    async def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        return {"predictions": self.session.act(payload["instances"]).tolist()}


if __name__ == "__main__":
    ModelServer().start([Policy("cartpole")])
