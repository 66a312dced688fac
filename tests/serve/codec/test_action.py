"""Actions of several parts: nested in JSON as the policy nests them, and one after the other in raw bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from rlway_client.contract.specs import TensorSpec
from rlway_serve.codec.action import ActionForm
from tests.bundles import linear_policy
from tests.servers import JSON, OCTETS, Answer, Server, act_request, get_request, running_server
from tests.steered import TUPLE, Drive, drive, steered_policy

POLICIES = ("steered", "pair", "lite")
ROWS = np.random.default_rng(7).normal(size=(40, 4)).astype(np.float32)
EXPECTED = drive(ROWS)
RUNS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "buckets": ("--buckets", "--max-batch", "4"),
    "invariant": ("--batch-invariant", "--max-batch", "8"),
}


@pytest.fixture(scope="module", params=list(RUNS.values()), ids=list(RUNS))
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("actions") / "models"
    steered_policy(models)
    steered_policy(models, "pair", paths=TUPLE)
    steered_policy(models, "lite", lite=True)
    steered_policy(models, "brittle", brittle=True)
    with running_server(models, models.with_name("log"), *request.param) as running:
        yield running


@pytest.fixture(params=["hot", "query"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(server: Server, policy: str, body: dict[str, Any] | bytes, lane: str = "hot") -> Answer:
    media_type = OCTETS if isinstance(body, bytes) else JSON
    return server.ask(act_request(body, lane=lane, path=f"/v1/policies/{policy}/act", media_type=media_type))


def parts(policy: str, action: Any) -> tuple[int, list[float]]:
    """The gear and the steering in a JSON action, which must have nothing else."""
    if policy == "pair":
        assert list(action) == ["0", "1"]
        return action["0"], action["1"]
    assert list(action) == ["gear", "wheel"]
    assert list(action["wheel"]) == ["steer"]
    return action["gear"], action["wheel"]["steer"]


def check(policy: str, actions: list[Any], expected: Drive) -> None:
    gears, steers = zip(*(parts(policy, action) for action in actions), strict=True)
    assert list(gears) == expected.gear
    np.testing.assert_allclose(steers, expected.steer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_action_is_nested_as_the_policy_nests_it(server: Server, policy: str, lane: str) -> None:
    """One observation gives one object, several give a list of objects; a tuple's keys are its places."""
    single = ask(server, policy, {"observation": ROWS[0].tolist()}, lane).json
    assert set(single) == {"action", "version"}
    check(policy, [single["action"]], drive(ROWS[:1]))
    several = ask(server, policy, {"observations": ROWS.tolist()}, lane).json
    assert set(several) == {"actions", "version"}
    check(policy, several["actions"], EXPECTED)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_raw_action_is_its_parts_one_after_the_other(server: Server, policy: str, lane: str) -> None:
    """Row by row, little-endian, in the order of the manifest."""
    answer = ask(server, policy, ROWS.tobytes(), lane)
    assert (answer.status, answer.headers["content-type"], len(answer.body)) == (200, OCTETS, 40 * 16)
    records = np.frombuffer(answer.body, [("gear", "<i8"), ("steer", "<f4", 2)])
    assert records["gear"].tolist() == EXPECTED.gear
    np.testing.assert_allclose(records["steer"], EXPECTED.steer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_callers_of_several_kinds_share_a_batch(server: Server, policy: str) -> None:
    """Single, batched and raw requests in one packet each get their own actions."""
    path = f"/v1/policies/{policy}/act"
    with server.connect() as wire:
        wire.send(
            b"".join(act_request({"observation": row}, path=path) for row in ROWS.tolist())
            + act_request({"observations": ROWS.tolist()}, path=path)
            + b"".join(act_request(row.tobytes(), path=path, media_type=OCTETS) for row in ROWS)
        )
        check(policy, [wire.answer().json["action"] for _ in ROWS], EXPECTED)
        check(policy, wire.answer().json["actions"], EXPECTED)
        raw = b"".join(wire.answer().body for _ in ROWS)
    assert np.frombuffer(raw, [("gear", "<i8"), ("steer", "<f4", 2)])["gear"].tolist() == EXPECTED.gear


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_carries_both_forms(server: Server, policy: str) -> None:
    """A text frame is answered with JSON, a binary frame with raw bytes; each alone and with others on their way."""
    with connect(f"ws://{server.host}:{server.port}/v1/policies/{policy}/stream") as stream:
        for row in ROWS[:3]:
            stream.send(json.dumps({"observation": row.tolist()}))
            check(policy, [json.loads(stream.recv())["action"]], drive(row[None]))
        for row in ROWS:
            stream.send(json.dumps({"observation": row.tolist()}))
            stream.send(row.tobytes())
        answers = [stream.recv() for _ in range(2 * len(ROWS))]
    check(policy, [json.loads(text)["action"] for text in answers[::2]], EXPECTED)
    assert all(isinstance(octets, bytes) and len(octets) == 16 for octets in answers[1::2])


@pytest.mark.parametrize("policy", ["steered", "lite"])
def test_further_outputs_come_beside_a_nested_action(server: Server, policy: str) -> None:
    """Scores of one part, and what the policy says of its distribution."""
    body = {"observations": ROWS.tolist(), "outputs": ["logits_gear", "info_loc"]}
    answer = ask(server, policy, body).json
    check(policy, answer["actions"], EXPECTED)
    assert np.argmax(answer["outputs"]["logits_gear"], axis=1).tolist() == EXPECTED.gear
    np.testing.assert_allclose(answer["outputs"]["info_loc"], EXPECTED.steer, rtol=1e-5, atol=1e-6)
    refused = ask(server, policy, body | {"outputs": ["action_gear"]})
    assert (refused.status, refused.json["errors"][0]["expected"]) == (422, "one of info_loc, logits_gear")


def test_no_motor_gets_a_part_that_is_not_finite(server: Server, lane: str) -> None:
    """Where one part of an action is NaN its caller is refused, and the others of the batch are not."""
    path = "/v1/policies/brittle/act"
    bad, row = [3e9, 0.0, 0.0, 0.0], ROWS[0].tolist()
    bodies: list[dict[str, Any]] = [{"observation": row}, {"observation": bad}, {"observations": [row, bad]}]
    with server.connect() as wire:
        wire.send(b"".join(act_request(body, lane=lane, path=path) for body in (*bodies, bodies[0])))
        answers = [wire.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 422, 422, 200]
    assert [answer.json["errors"][0]["got"] for answer in answers[1:3]] == ["an action that is not"] * 2
    raw = ask(server, "brittle", np.array(bad, "<f4").tobytes(), lane)
    assert raw.status == 422


def test_the_documentation_shows_what_a_raw_action_holds(server: Server) -> None:
    """The OpenAPI document has the form of the first policy that answers."""
    document = server.ask(get_request("/openapi.json")).json
    octets = document["paths"]["/act"]["post"]["responses"]["200"]["content"]["application/octet-stream"]
    label = '{"gear": int64, "wheel": {"steer": float32[2]}}'
    assert octets["schema"]["description"] == f"rows of {label}, little-endian"


def test_a_dict_with_one_part_is_an_object() -> None:
    """Only a single tensor outside of any nest is answered bare."""
    form = ActionForm([TensorSpec("action_a_b", (), "int32", path=("a", "b"))])
    rows = {"action_a_b": np.array([1, 2], np.int64)}
    assert form.rows(rows) == [{"a": {"b": 1}}, {"a": {"b": 2}}]
    assert form.octets(rows) == np.array([1, 2], "<i4").tobytes()
    assert not form.plain


def test_parts_keep_their_places_in_a_row() -> None:
    """Of every type and shape, in one row of octets; a tuple's keys are in the order of the manifest."""
    specs = [
        TensorSpec("action_0", (2, 1), "float64", path=("0",)),
        TensorSpec("action_1_on", (), "bool", path=("1", "on")),
        TensorSpec("action_1_level", (3,), "uint8", path=("1", "level")),
    ]
    form = ActionForm(specs)
    rows = {
        "action_0": np.array([[[1.5], [2.5]], [[3.5], [4.5]]]),
        "action_1_on": np.array([True, False]),
        "action_1_level": np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
    }
    assert form.rows(rows)[1] == {"0": [[3.5], [4.5]], "1": {"on": False, "level": [4, 5, 6]}}
    expected = [np.array([3.5, 4.5]).tobytes(), b"\0", bytes([4, 5, 6])]
    assert form.octets(rows)[20:] == b"".join(expected)
    assert form.label == '{"0": float64[2, 1], "1": {"on": bool, "level": uint8[3]}}'


def test_a_bare_tensor_is_answered_as_ever(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Byte for byte, through the plain lane and through the general one."""
    models = tmp_path_factory.mktemp("bare") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log")) as server:
        bodies: list[dict[str, Any]] = [{"observation": [1, 0, 0, 0]}, {"observation": [1, 0, 0, 0], "seed": 1}]
        assert {ask(server, "linear", body).body for body in bodies} == {b'{"action":0,"version":1}'}
