"""The clients and the policy on a robot share one protocol: `act` on an observation, `reset` before an episode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from rlway_client import AsyncPolicyClient, Bundle, EdgePolicy, PolicyClient
from rlway_client.common.files import sha256
from rlway_client.contract.manifest import encode_manifest
from rlway_client.contract.policy import PolicyLike
from tests.bundles import BIAS, WEIGHTS, summing_policy
from tests.lite_models import LiteModel
from tests.servers import Server, running_server

pytest.importorskip("ai_edge_litert")

# The policy acts on the sum of what it has observed in its episode: the sign of the first value decides.
EPISODES = {(1.0, -0.5, -1.0): [0, 0, 1], (-0.5, 1.0): [1, 0]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`summing_policy` as an ONNX file, and the same as a TFLite file."""
    made = summing_policy(tmp_path_factory.mktemp("policies") / "models")
    file = made.path / "model.tflite"
    file.write_bytes(summing_tflite())
    manifest = replace(made.manifest, files=made.manifest.files | {file.name: sha256(file)})
    (made.path / "manifest.json").write_bytes(encode_manifest(manifest))
    return Bundle.open(made.path)


@pytest.fixture(scope="module")
def summing(bundle: Bundle) -> Iterator[Server]:
    models = bundle.path.parent.parent
    with running_server(models, models.with_name("log")) as running:
        yield running


def summing_tflite() -> bytes:
    model = LiteModel()
    observation, before = model.tensor("observation", (1, 4), "float32"), model.tensor("sum", (1, 4), "float32")
    noise, reset = model.tensor("noise", (1, 2), "float32"), model.tensor("reset", (1,), "bool")
    types = {"inDataType": model.type_of("bool"), "outDataType": model.type_of("float32")}
    begins = model.operate("CAST", [reset], model.tensor("begins", (1,), "float32"), **types)
    one = model.constant("one", np.ones(1, np.float32))
    goes_on = model.operate("SUB", [one, begins], model.tensor("goes_on", (1,), "float32"))
    kept = model.operate("MUL", [before, goes_on], model.tensor("kept", (1, 4), "float32"))
    after = model.operate("ADD", [kept, observation], model.tensor("next_sum", (1, 4), "float32"))
    weights, bias = model.constant("weights", WEIGHTS.T.copy()), model.constant("bias", BIAS)
    q_values = model.tensor("q_values", (1, 2), "float32")
    model.operate("FULLY_CONNECTED", [after, weights, bias], q_values)
    noisy = model.operate("ADD", [q_values, noise], model.tensor("noisy", (1, 2), "float32"))
    inputs = {"observation": observation, "noise": noise, "sum": before, "reset": reset}
    return model.finish(inputs, {"action": model.best_of(noisy), "q_values": q_values, "next_sum": after})


def test_a_policy_over_http_and_one_in_this_process_play_the_same_episodes(bundle: Bundle, summing: Server) -> None:
    """`reset` begins an episode: the state of the one before is gone."""
    with PolicyClient(summing.url, "summing", episode="waits") as client:
        policies: list[PolicyLike[Any]] = [client, EdgePolicy(bundle.path)]
        for policy in policies:
            for values, actions in EPISODES.items():
                policy.reset()
                assert [policy.act([value, 0, 0, 0]) for value in values] == actions


def test_a_policy_that_is_awaited_plays_them_too(summing: Server) -> None:
    """`AsyncPolicyClient(episode=…)`: the same methods, and `act` is awaited."""

    async def play() -> None:
        async with AsyncPolicyClient(summing.url, "summing", episode="awaits") as client:
            policy: PolicyLike[Awaitable[Any]] = client
            for values, actions in EPISODES.items():
                policy.reset()
                assert [await policy.act([value, 0, 0, 0]) for value in values] == actions

    asyncio.run(play())


def test_a_new_policy_begins_an_episode_without_a_reset(bundle: Bundle, summing: Server) -> None:
    """The first action begins an episode, over HTTP and in process."""
    with PolicyClient(summing.url, "summing", episode="new") as client:
        assert client.act([-1, 0, 0, 0]) == EdgePolicy(bundle.path).act([-1, 0, 0, 0]) == 1
