"""Policies that read reward, discount or step type: what a request may say of them, and what holds otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import NEUTRAL, TIME_STEP
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec, is_finite
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.settings import Settings
from tests.bundles import linear_policy
from tests.callers import Receiving
from tests.rewarded import rewarded_policy
from tests.servers import JSON, OCTETS, Answer, Server, act_request, get_request, running_server

ROW = [1.0, 0.5, 0.0, 0.25]
SUM = 1.75
ALL: dict[str, Any] = {"reward": -1.5, "discount": 0.5, "step_type": 2}
RUNS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "buckets": ("--buckets", "--max-batch", "4"),
    "invariant": ("--batch-invariant", "--max-batch", "4"),
}


@pytest.fixture(scope="module", params=list(RUNS.values()), ids=list(RUNS))
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("time-step") / "models"
    rewarded_policy(models)
    rewarded_policy(models, "lite", lite=True)
    rewarded_policy(models, "discounted", read=("discount",))
    rewarded_policy(models, "brittle", brittle=True)
    rewarded_policy(models, "remembering", remembering=True)
    linear_policy(models)
    with running_server(models, models.with_name("log"), *request.param) as running:
        yield running


@pytest.fixture(params=["hot", "query"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(server: Server, policy: str, body: dict[str, Any] | bytes, lane: str = "hot") -> Answer:
    media_type = OCTETS if isinstance(body, bytes) else JSON
    return server.ask(act_request(body, lane=lane, path=f"/v1/policies/{policy}/act", media_type=media_type))


@pytest.mark.parametrize("policy", ["rewarded", "lite"])
def test_what_is_not_said_is_neutral(server: Server, policy: str, lane: str) -> None:
    """No reward, no end of the episode, a step in its midst: in JSON, in a batch and in octets, which cannot say it."""
    neutral = [SUM, 1.0, 1.0]
    nothing: list[dict[str, Any]] = [{}, {"time_step": {}}, {"time_step": None}, {"time_step": {"reward": None}}]
    for said in nothing:
        assert ask(server, policy, {"observation": ROW} | said, lane).json["action"] == neutral
    assert ask(server, policy, {"observations": [ROW] * 5}, lane).json["actions"] == [neutral] * 5
    raw = ask(server, policy, np.array([ROW], "<f4").tobytes(), lane).body
    assert np.frombuffer(raw, "<f4").tolist() == neutral


@pytest.mark.parametrize("policy", ["rewarded", "lite"])
def test_a_policy_reads_what_the_request_says(server: Server, policy: str, lane: str) -> None:
    """One number for one observation; whole numbers may be written with a point."""
    said = {"observation": ROW, "time_step": ALL}
    assert ask(server, policy, said, lane).json["action"] == [SUM - 1.5, 0.5, 2.0]
    for part, value in {"reward": 2, "discount": 0, "step_type": 0.0}.items():
        expected = [SUM, 1.0, 1.0]
        place = list(TIME_STEP).index(part)
        expected[place] = value + (SUM if place == 0 else 0)
        assert ask(server, policy, {"observation": ROW, "time_step": {part: value}}, lane).json["action"] == expected


@pytest.mark.parametrize("policy", ["rewarded", "lite"])
def test_a_batch_has_a_number_for_each_row(server: Server, policy: str, lane: str) -> None:
    """In the order of the observations; a part may be left out for all of them."""
    said = {"reward": [1, 2.5, -3], "step_type": [0, 1, 2]}
    answer = ask(server, policy, {"observations": [ROW] * 3, "time_step": said}, lane)
    assert answer.json["actions"] == [[SUM + 1, 1, 0], [SUM + 2.5, 1, 1], [SUM - 3, 1, 2]]


def test_callers_share_a_batch_and_keep_their_own_numbers(server: Server) -> None:
    """Those who say nothing, too."""
    path = "/v1/policies/rewarded/act"
    with server.connect() as wire:
        for i in range(20):
            said = {"time_step": {"reward": i}} if i % 3 else {}
            wire.send(act_request({"observation": ROW} | said, path=path))
        rewards = [wire.answer().json["action"][0] - SUM for _ in range(20)]
    assert rewards == [i if i % 3 else 0 for i in range(20)]


def test_a_stream_says_it_in_text(server: Server) -> None:
    """A binary frame cannot, and is neutral."""
    with connect(f"ws://{server.host}:{server.port}/v1/policies/rewarded/stream") as stream:
        for _ in range(2):
            stream.send(json.dumps({"observation": ROW, "time_step": ALL}))
            assert json.loads(stream.recv())["action"] == [SUM - 1.5, 0.5, 2.0]
            stream.send(np.array(ROW, "<f4").tobytes())
            octets = stream.recv()
            assert isinstance(octets, bytes)
            assert np.frombuffer(octets, "<f4").tolist() == [SUM, 1.0, 1.0]
            stream.send('{"observation": [1, 0.5, 0, 0.25], "time_step": {"reward": NaN}}')
            assert json.loads(stream.recv())["errors"][0]["path"] == "time_step.reward"


def test_an_episode_remembers_its_rewards(server: Server, lane: str) -> None:
    """The state goes in beside the time step; `first` resets the state and does not change the step type."""

    def step(reward: float, first: bool = False) -> Any:
        body = {"observation": ROW, "episode": f"sum-{lane}", "first": first, "time_step": {"reward": reward}}
        return ask(server, "remembering", body, lane).json["action"]

    assert [step(1, first=True), step(2), step(4)] == [[SUM + total, 1.0, 1.0] for total in (1, 3, 7)]
    refused = {"observation": ROW, "episode": f"sum-{lane}", "time_step": {"reward": "x"}}
    assert ask(server, "remembering", refused, lane).status == 422
    assert step(0) == [SUM + 7, 1.0, 1.0]
    assert step(5, first=True) == [SUM + 5, 1.0, 1.0]


FAULTS: list[tuple[Any, str]] = [
    ({"reward": float("nan")}, "time_step.reward: expected finite float32, got NaN"),
    ({"reward": 1e39}, "time_step.reward: expected finite float32, got 1e+39"),
    ({"discount": "x"}, "time_step.discount: expected float32, got a string"),
    ({"discount": True}, "time_step.discount: expected float32, got true"),
    ({"reward": [1]}, "time_step.reward: expected float32, got an array of 1"),
    ({"step_type": 0.5}, "time_step.step_type: expected int32, got 0.5"),
    ({"step_type": 3}, "time_step.step_type: expected 0 (first), 1 (mid) or 2 (last), got 3"),
    ({"step_type": -1}, "time_step.step_type: expected 0 (first), 1 (mid) or 2 (last), got -1"),
    ({"step_type": 2**40}, "time_step.step_type: expected int32, got 1099511627776"),
]


@pytest.mark.parametrize("policy", ["rewarded", "lite"])
@pytest.mark.parametrize(("said", "sentence"), FAULTS, ids=str)
def test_a_fault_has_its_path(server: Server, lane: str, policy: str, said: Any, sentence: str) -> None:
    """The same sentence for one observation and, with the row's number, for several."""
    answer = ask(server, policy, {"observation": ROW, "time_step": said}, lane)
    assert (answer.status, answer.detail.rstrip(".")) == (422, sentence)
    ((part, value),) = said.items()
    columns = {part: [NEUTRAL[part], value]}
    several = ask(server, policy, {"observations": [ROW] * 2, "time_step": columns}, lane)
    assert several.json["errors"][0]["path"] == f"time_step.{part}[1]"


def test_every_fault_is_named(server: Server, lane: str) -> None:
    """In the parts' order, at most twenty of them."""
    said: dict[str, Any] = {"step_type": 7, "reward": None, "discount": []}
    answer = ask(server, "rewarded", {"observation": ROW, "time_step": said}, lane)
    assert [fault["path"] for fault in answer.json["errors"]] == ["time_step.discount", "time_step.step_type"]
    many = ask(server, "rewarded", {"observations": [ROW] * 50, "time_step": {"reward": ["x"] * 50}}, lane)
    assert [fault["path"] for fault in many.json["errors"]] == [f"time_step.reward[{i}]" for i in range(20)]


@pytest.mark.parametrize("value", [1, [1], [1, 2, 3], {}, "x"])
def test_a_batch_needs_as_many_numbers_as_rows(server: Server, lane: str, value: Any) -> None:
    """One number for all of them would leave open whose reward it is."""
    answer = ask(server, "rewarded", {"observations": [ROW] * 2, "time_step": {"reward": value}}, lane)
    (fault,) = answer.json["errors"]
    assert (fault["path"], fault["expected"]) == ("time_step.reward", "an array of 2, one number per observation")


@pytest.mark.parametrize(
    ("policy", "part", "reads"),
    [
        ("discounted", "reward", "discount"),
        ("linear", "reward", "nothing of the time step"),
        ("linear", "step_type", "nothing of the time step"),
    ],
)
def test_what_a_policy_does_not_read_is_refused(server: Server, lane: str, policy: str, part: str, reads: str) -> None:
    """With a sentence that says so, in place of an action that ignores it."""
    answer = ask(server, policy, {"observation": ROW, "time_step": {part: 1}}, lane)
    assert (answer.status, answer.json["errors"]) == (
        422,
        [{"path": f"time_step.{part}", "expected": f"nothing: the policy reads {reads}", "got": "it"}],
    )
    assert ask(server, "discounted", {"observation": ROW, "time_step": {"discount": 0}}, lane).json["action"][1] == 0
    assert ask(server, "linear", {"observation": ROW, "time_step": {}}, lane).status == 200


@pytest.mark.parametrize("said", [5, [1], "x", {"rewards": 1}, {"reward": 1, "observation": ROW}])
def test_what_is_no_time_step_is_malformed(server: Server, lane: str, said: Any) -> None:
    """As any other field of the wrong shape."""
    answer = ask(server, "rewarded", {"observation": ROW, "time_step": said}, lane)
    assert (answer.status, "time_step" in answer.detail) == (400, True)


@pytest.mark.parametrize(
    "said",
    [
        {"reward": float("nan")},
        {"step_type": 9},
        {"reward": 99},  # the model fails on it
        {"discount": 1e9},  # its action is infinite
    ],
    ids=str,
)
def test_a_wrong_time_step_is_its_callers_alone(server: Server, said: dict[str, Any]) -> None:
    """Whether the decoder, the model or its action shows that it is wrong, all others are answered."""
    path = "/v1/policies/brittle/act"
    ((part, value),) = said.items()
    good = [act_request({"observation": ROW, "time_step": {"reward": i}}, path=path) for i in range(6)]
    bad = act_request({"observation": ROW, "time_step": said}, path=path)
    columns = {part: [NEUTRAL[part], NEUTRAL[part], value]}
    several = act_request({"observations": [ROW] * 3, "time_step": columns}, path=path)
    with server.connect() as wire:
        wire.send(b"".join([*good[:3], bad, *good[3:], several]))
        answers = [wire.answer() for _ in range(8)]
    assert [answer.status for answer in answers] == [200, 200, 200, 422, 200, 200, 200, 422]
    assert [answer.json["action"][0] - SUM for answer in answers if answer.status == 200] == [0, 1, 2, 3, 4, 5]


def test_good_callers_never_feel_a_bad_one(server: Server) -> None:
    """Many connections at once, each repeating itself."""

    def converse(i: int) -> None:
        reward = 99 if i == 0 else i
        with server.connect() as wire:
            for _ in range(20):
                body = {"observation": ROW, "time_step": {"reward": reward}}
                wire.send(act_request(body, path="/v1/policies/brittle/act"))
                answer = wire.answer()
                assert answer.status == (422 if i == 0 else 200), answer.body
                assert i == 0 or answer.json["action"][0] == SUM + i

    with ThreadPoolExecutor(6) as callers:
        list(callers.map(converse, range(6)))
    assert server.ask(get_request("/healthz")).status == 200


def make_manifest(read: list[str]) -> Manifest:
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="any",
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (), "float32")],
        action=TensorSpec("action", (), "float32"),
        noise=None,
        time_step=[TensorSpec(part, (), TIME_STEP[part]) for part in read],
    )


NUMBERS = st.floats() | st.integers(-3, 4) | st.sampled_from([2**31, 10**40, 1e39, 1.0, 2.0, -0.0])
ODD: st.SearchStrategy[Any] = st.none() | st.booleans() | st.text(max_size=2) | st.just({}) | st.just([])
VALUES = st.recursive(NUMBERS | ODD, lambda inner: st.lists(inner, max_size=4), max_leaves=6)


def fits(part: str, value: Any) -> bool:
    """Whether the documentation takes this number for this part."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if part == "step_type":
        return value in (0, 1, 2)
    return is_finite(value, np.dtype(np.float32))


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(
    read=st.lists(st.sampled_from([*TIME_STEP]), unique=True),
    said=st.dictionaries(st.sampled_from([*TIME_STEP]), NUMBERS | VALUES | st.lists(NUMBERS, min_size=2, max_size=2)),
    rows=st.sampled_from([None, 1, 2]),
)
def test_a_time_step_is_read_as_documented_or_refused(read: list[str], said: dict[str, Any], rows: int | None) -> None:
    """Whatever JSON holds: sound numbers arrive unchanged, the rest is refused in one sentence with its path."""
    decoder = ActDecoder(make_manifest(read), Settings(models=Path()))
    observed = {"observation": 1.5} if rows is None else {"observations": [1.5] * rows}
    given_parts = {part: value for part, value in said.items() if value is not None}
    columns = {part: [value] if rows is None else value for part, value in given_parts.items()}
    sound = all(
        part in read and isinstance(column, list) and len(column) == (rows or 1) and all(fits(part, v) for v in column)
        for part, column in columns.items()
    )
    body = json.dumps(observed | {"time_step": said}).encode()
    if not sound:
        with pytest.raises(SpecViolated, match=r"^time_step\.") as refusal:
            decoder.decode(b"application/json", body, Receiving())
        assert len(str(refusal.value)) <= 300
        return
    arrays = decoder.decode(b"application/json", body, Receiving()).time_step or {}
    assert {part: array.tolist() for part, array in arrays.items()} == {
        part: np.array(column, TIME_STEP[part]).tolist() for part, column in columns.items()
    }
    assert all(array.dtype == TIME_STEP[part] for part, array in arrays.items())
