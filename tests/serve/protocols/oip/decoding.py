"""The routes of the protocol in this process, without a server: what reads a request, and what writes its answer.

In:      a folder of bundles; a body and its header.
Out:     a call, and the answer that it would get.
Refuses: what the routes refuse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.gateway.body_budget import BodyBudget
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import Episodes
from rlway_serve.messages.call import Call, PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.protocols.oip.rest.answer import JSON_LENGTH
from rlway_serve.protocols.oip.rest.route import OipRoute, OipRoutes, RestQuestion
from rlway_serve.registry.repository import Repository
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.callers import Receiving


class Read(NamedTuple):
    """A request that fits the policy's spec."""

    question: RestQuestion
    call: Call

    def answer(self, results: dict[str, AnyArray]) -> Response:
        """The answer where the policy gives these results."""
        return self.question.write({name: results[name] for name in ("action", *self.call.outputs)}, {})


class Decoding:
    """The routes to all policies of a folder."""

    def __init__(self, models: Path, **settings: Any) -> None:
        made = Settings(models=models, **settings)
        repository = Repository(made, Metrics())
        repository.load()
        budget, episodes = BodyBudget(made.max_buffered_bytes), Episodes(600.0, 1000)
        endpoint = Endpoint(repository, Keys(made), budget, episodes, None, made.max_json_bytes)
        self.routes = OipRoutes(endpoint, made)

    def route(self, policy: str) -> OipRoute:
        return self.routes.route(policy, "")

    def read(self, policy: str, body: bytes, header: bytes | None = None) -> Read:
        """The request on the general way. Raises RlwayError."""
        route = self.route(policy)
        question = route.question({} if header is None else {JSON_LENGTH: header}, body)
        assert route.policy.active is not None
        return Read(question, question.read(route.policy.active, Receiving()))

    def take_plain(self, policy: str, body: bytes, header: bytes | None = None) -> PlainCall | None:
        """The request on the plain way; None if it is not plain."""
        route, call = self.route(policy), PlainCall(None, 0.0)
        assert route.policy.active is not None
        headers = {} if header is None else {JSON_LENGTH: header}
        return call if route.take_plain(route.policy.active, headers, body, call) else None


def read_answer(response: Response) -> dict[str, Any]:
    """The JSON of an answer, with each output's octets as a list under `data`."""
    headers = dict(response.headers)
    size = int(headers.get(JSON_LENGTH, len(response.body)))
    answer: dict[str, Any] = json.loads(response.body[:size])
    for output in answer["outputs"]:
        if "parameters" in output:
            end = size + output["parameters"]["binary_data_size"]
            dtype = {"INT64": "<i8", "FP32": "<f4"}[output["datatype"]]
            output["data"] = np.frombuffer(response.body[size:end], dtype).tolist()
            size = end
    assert size == len(response.body)
    return answer
