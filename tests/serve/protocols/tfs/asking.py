"""Predict requests as bytes, as any client of TensorFlow Serving might send them.

In:      a model's path below `/v1/models/`, a body.
Out:     the answer.
"""

from __future__ import annotations

from typing import Any

from tests.servers import Answer, Server, act_request, get_request

ROW = [0.5, -1.0, 2.0, 0.25]
OTHER = [-0.5, 1.0, -2.0, -0.25]
ACTIONS = [0, 1]  # of `linear_policy` for ROW and OTHER


def predict(server: Server, model: str, body: bytes | dict[str, Any], lane: str = "hot", *headers: str) -> Answer:
    """Asks `:predict` without a content type, as ovmsclient does."""
    request = act_request(body, lane=lane, path=f"/v1/models/{model}:predict", headers=headers)
    return server.ask(request.replace(b"content-type: application/json\r\n", b""))


def get(server: Server, path: str, *headers: str, method: str = "GET") -> Answer:
    return server.ask(get_request(path, *headers, method=method))


def error(answer: Answer) -> str:
    """The sentence of an error in TensorFlow Serving's form."""
    assert answer.headers["content-type"] == "application/json"
    (key, sentence), *more = answer.json.items()
    assert (key, more) == ("error", [])
    assert isinstance(sentence, str)
    assert len(sentence) <= 300
    return sentence
