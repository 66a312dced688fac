"""LitServe: batching, and the queue that its documentation recommends for many small requests."""

from __future__ import annotations

import sys
from typing import Any

import litserve as ls
from session import ROWS, WAIT_S, Session


class PolicyApi(ls.LitAPI):  # type: ignore[misc]
    """Decodes a body and encodes an answer; `predict` runs a batch."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.session = Session()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads a type as the body's schema
        return request["observation"]

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, x: list[Any]) -> Any:
        return self.session.act(x)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, int]:
        return {"action": int(output)}


if __name__ == "__main__":
    server = ls.LitServer(PolicyApi(max_batch_size=ROWS, batch_timeout=WAIT_S), accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
