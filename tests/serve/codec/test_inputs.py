"""Policies that observe objects of tensors, and policies that cannot explore."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rlway_client import PolicyClient
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.exploration import Explore
from tests.bundles import BIAS, WEIGHTS, greedy_policy, robot_policy
from tests.servers import OCTETS, RLWAY, Answer, Server, act_request, running_server

ROBOT, GREEDY = "/v1/policies/robot/act", "/v1/policies/greedy/act"
SEEN = {"camera": [10, 200], "joints": {"arm": [0.5, -1.0, 0.25]}}


@pytest.fixture(scope="module", params=[(), ("--buckets", "--max-batch", "4")], ids=["plain", "buckets"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("inputs") / "models"
    robot_policy(models)
    greedy_policy(models)
    with running_server(models, models.with_name("log"), *request.param) as running:
        yield running


@pytest.fixture(params=["hot", "query"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def draw(n: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(n)
    return [
        {
            "camera": generator.integers(0, 256, 2).tolist(),
            "joints": {"arm": generator.normal(size=3).astype(np.float32).tolist()},
        }
        for _ in range(n)
    ]


def q_values(seen: dict[str, Any]) -> Any:
    return np.array(seen["camera"]) * 0.01 + np.array(seen["joints"]["arm"]) @ WEIGHTS[:3]


def test_an_object_is_observed_by_its_keys(server: Server, lane: str) -> None:
    """Nested as the specs' paths say, whatever the order of the keys; one or several."""
    turned = {"joints": SEEN["joints"], "camera": SEEN["camera"]}
    for seen in (SEEN, turned):
        answer = server.ask(act_request({"observation": seen, "outputs": ["q_values"]}, lane=lane, path=ROBOT)).json
        assert answer["action"] == q_values(SEEN).argmax()
        np.testing.assert_allclose(answer["outputs"]["q_values"], q_values(SEEN), rtol=1e-5)
        plain = server.ask(act_request({"observation": seen}, lane=lane, path=ROBOT)).json
        assert plain == {"action": answer["action"], "version": 1}
    for n in (1, 3, 9):
        rows = draw(n)
        answer = server.ask(act_request({"observations": rows}, lane=lane, path=ROBOT)).json
        assert answer["actions"] == [int(q_values(row).argmax()) for row in rows]


def test_callers_of_several_inputs_share_batches(server: Server) -> None:
    """Pipelined requests, single and batched, JSON and raw, each get their own answers."""
    rows = draw(40)
    raw = b"".join(np.array(r["camera"], "u1").tobytes() + np.array(r["joints"]["arm"], "<f4").tobytes() for r in rows)
    expected = [int(q_values(row).argmax()) for row in rows]
    with server.connect() as wire:
        wire.send(
            b"".join(act_request({"observation": row}, path=ROBOT) for row in rows)
            + act_request({"observations": rows}, path=ROBOT)
            + act_request(raw, path=ROBOT, media_type=OCTETS)
        )
        assert [wire.answer().json["action"] for _ in rows] == expected
        assert wire.answer().json["actions"] == expected
        assert np.frombuffer(wire.answer().body, "<i8").tolist() == expected


@pytest.mark.parametrize(
    ("seen", "paths"),
    [
        ({**SEEN, "camera": [1, 2, 3]}, ['observation["camera"]']),
        ({**SEEN, "camera": [1, 256]}, ['observation["camera"][1]']),
        ({**SEEN, "joints": {"arm": [0, None, 0]}}, ['observation["joints"]["arm"][1]']),
        ({**SEEN, "joints": {"arm": [0, 0, float("nan")]}}, ['observation["joints"]["arm"][2]']),
        ({**SEEN, "joints": {"arm": [0, 0, 1e39]}}, ['observation["joints"]["arm"][2]']),
        ({**SEEN, "joints": 1}, ['observation["joints"]']),
        ({"camera": [1]}, ['observation["camera"]', 'observation["joints"]']),
        ({**SEEN, "lidar": [1]}, ['observation["lidar"]']),
        ([1, 2, 3, 4], ["observation"]),
    ],
)
def test_every_fault_of_an_object_has_its_path(server: Server, lane: str, seen: Any, paths: list[str]) -> None:
    """Keys and indices, as one would write them in Python."""
    answer = server.ask(act_request({"observation": seen}, lane=lane, path=ROBOT))
    assert (answer.status, [fault["path"] for fault in answer.json["errors"]]) == (422, paths)
    several = server.ask(act_request({"observations": [SEEN, seen]}, lane=lane, path=ROBOT))
    assert [fault["path"] for fault in several.json["errors"]] == [
        path.replace("observation", "observations[1]") for path in paths
    ]


def test_raw_rows_of_several_inputs_have_one_length(server: Server, lane: str) -> None:
    """2 bytes of camera and 12 of arm are a row; 13 are none, and NaN is found by its path."""
    assert server.ask(act_request(bytes(13), lane=lane, path=ROBOT, media_type=OCTETS)).status == 422
    nan = bytes(14) + bytes(2) + np.array([0, np.nan, 0], "<f4").tobytes()
    answer = server.ask(act_request(nan, lane=lane, path=ROBOT, media_type=OCTETS))
    assert answer.json["errors"][0]["path"] == 'observations[1]["joints"]["arm"][1]'


def test_a_policy_without_noise_is_greedy(server: Server, lane: str) -> None:
    """It acts, one or several, and refuses to explore in one sentence."""
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    expected = (rows @ WEIGHTS + BIAS).argmax(axis=1).tolist()

    def ask(body: Any) -> Answer:
        return server.ask(act_request(body, lane=lane, path=GREEDY))

    assert ask({"observations": rows.tolist()}).json["actions"] == expected
    assert [ask({"observation": row}).json["action"] for row in rows.tolist()] == expected
    refused = ask({"observation": rows[0].tolist(), "explore": {"epsilon": 0.5}})
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, "explore")


def test_the_client_takes_dicts_of_arrays(server: Server) -> None:
    """One observation, a list of them, or a dict of arrays [B, …], as vectorised environments give it."""
    rows = draw(5)
    expected = [int(q_values(row).argmax()) for row in rows]
    stacked = {
        "camera": np.array([row["camera"] for row in rows], np.uint8),
        "joints": {"arm": np.array([row["joints"]["arm"] for row in rows], np.float32)},
    }
    with PolicyClient(server.url, "robot") as client:
        seen = {"camera": np.array(rows[0]["camera"], np.uint8), "joints": {"arm": np.array(rows[0]["joints"]["arm"])}}
        assert client.act(seen) == expected[0]
        assert client.act_batch(rows).tolist() == expected
        assert client.act_batch(stacked).tolist() == expected
        with pytest.raises(SpecViolated, match=r'observation\["joints"\]\["arm"\]\[1\]'):
            client.act({"camera": [1, 2], "joints": {"arm": [0, np.nan, 0]}})
    with PolicyClient(server.url, "greedy") as greedy, pytest.raises(SpecViolated, match="explore"):
        greedy.act([0, 0, 0, 0], explore=Explore(epsilon=0.1))


def test_a_load_test_makes_objects(server: Server) -> None:
    """`rlway bench` samples what the policy observes."""
    command = [str(RLWAY), "bench", "--url", server.url, "--policy", "robot", "--duration-s", "0.2", "--json"]
    load = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert load["errors"] == 0
    assert load["achieved_rps"] > 0
