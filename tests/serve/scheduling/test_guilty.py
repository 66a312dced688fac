"""An observation that the model cannot take is refused to its own caller, and costs nobody else an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from rlway_client.contract.specs import TensorSpec
from tests.bundles import embedding_policy, narrow_policy, remembering_policy
from tests.servers import OCTETS, Server, act_request, get_request, running_server
from tests.weighing import weigh, weighing_policy

MARKED, UNMARKED, LITE, LITE_UNMARKED, COUNTS, SWITCHES = (
    f"/v1/policies/{name}/act" for name in ("embedding", "unmarked", "lite", "lite-unmarked", "counts", "switches")
)
COUNTED = [TensorSpec("observation", (3,), "int64", 0, 9)]
SWITCHED = [
    TensorSpec("on", (2,), "bool", path=("on",)),
    TensorSpec("level", (), "float32", path=("level",)),
    TensorSpec("off", (1, 2), "bool", path=("off",)),
]
RUNS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "buckets": ("--buckets", "--max-batch", "64"),
    "invariant": ("--batch-invariant", "--max-batch", "64"),
}


@pytest.fixture(scope="module", params=list(RUNS.values()), ids=list(RUNS))
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("guilty") / "models"
    embedding_policy(models)
    embedding_policy(models, "unmarked", marked=False)
    embedding_policy(models, "lite", lite=True)
    embedding_policy(models, "lite-unmarked", marked=False, lite=True)
    remembering_policy(models, "remembering")
    remembering_policy(models, "remembering-unmarked", marked=False)
    narrow_policy(models)
    weighing_policy(models, COUNTED, "counts")
    weighing_policy(models, [TensorSpec("observation", (3,), "bool")], "bools")
    weighing_policy(models, SWITCHED, "switches")
    with running_server(models, models.with_name("log"), *request.param) as running:
        yield running


def expected_action(observation: list[int]) -> int:
    return int(sum(observation) < 13.5)


def ways_to_ask(row: list[int], path: str) -> list[tuple[bytes, str]]:
    """Requests for one observation with what is wrong in its last value, and the fault's path."""
    raw = np.array([row], "<i8").tobytes()
    return [
        (act_request({"observation": row}, path=path), "observation[2]"),
        (act_request({"observation": row}, path=path, lane="query"), "observation[2]"),
        (act_request({"observation": [float(value) for value in row]}, path=path), "observation[2]"),
        (act_request({"observation": row, "outputs": ["q_values"]}, path=path), "observation[2]"),
        (act_request({"observations": [[1, 2, 3], row]}, path=path), "observations[1][2]"),
        (act_request(raw, path=path, media_type=OCTETS), "observations[0][2]"),
    ]


@pytest.mark.parametrize("policy", [MARKED, LITE])
@pytest.mark.parametrize("value", [10, -1, -3, -11, 2**40, -(2**63)])
def test_what_is_in_no_table_is_refused_to_its_caller(server: Server, value: int, policy: str) -> None:
    """By its path, however it is asked; negative values are not counted from the table's end."""
    good = act_request({"observation": [1, 2, 3]}, path=policy)
    for bad, path in ways_to_ask([1, 2, value], policy):
        with server.connect() as wire:
            wire.send(good * 3 + bad + good * 3)
            answers = [wire.answer() for _ in range(7)]
        assert [answer.status for answer in answers] == [200] * 3 + [422] + [200] * 3
        (fault,) = answers[3].json["errors"]
        assert (fault["path"], fault["expected"]) == (path, "0 to 9, as the policy looks it up in a table")
        assert float(fault["got"]) == pytest.approx(value, rel=1e-5)
        assert [answer.json["action"] for answer in answers if answer.status == 200] == [1] * 6


@pytest.mark.parametrize("policy", ["embedding", "unmarked"])
def test_a_stream_goes_on_after_such_a_value(server: Server, policy: str) -> None:
    """In frames of JSON and of octets, each alone on its way or with others behind it."""
    url = f"ws://{server.host}:{server.port}/v1/policies/{policy}/stream"
    frames: list[str | bytes] = []
    for value in (3, 99, 9, 12, 0):
        frames += [json.dumps({"observation": [1, 2, value]}), np.array([1, 2, value], "<i8").tobytes()]
    with connect(url) as stream:

        def statuses(answers: list[str | bytes]) -> list[int]:
            return [200 if isinstance(a, bytes) or "action" in a else json.loads(a)["status"] for a in answers]

        alone = []
        for frame in frames:
            stream.send(frame)
            alone.append(stream.recv())
        for frame in frames:
            stream.send(frame)
        together = [stream.recv() for _ in frames]
    assert statuses(alone) == statuses(together) == [200, 200, 422, 422, 200, 200, 422, 422, 200, 200]


def test_every_value_of_the_table_is_looked_up(server: Server) -> None:
    """Those at its ends, too; the answers are numpy's."""
    rows = [[a, b, c] for a in (0, 4, 9) for b in range(10) for c in (0, 9)]
    for path in (MARKED, UNMARKED, LITE, LITE_UNMARKED):
        answer = server.ask(act_request({"observations": rows}, path=path)).json
        assert answer["actions"] == [expected_action(row) for row in rows]


def test_bounds_of_the_training_may_be_exceeded(server: Server) -> None:
    """A robot may come to where no training was: only what is looked up has to be in its table."""
    for row in ([1, 2, 99], [-3, 0, 2**40]):
        answer = server.ask(act_request({"observation": row, "outputs": ["q_values"]}, path=COUNTS)).json
        assert answer["outputs"]["q_values"][0] == pytest.approx(weigh(COUNTED, row))


@pytest.mark.parametrize("policy", [UNMARKED, LITE_UNMARKED])
def test_a_failing_run_is_its_guilty_callers_alone(server: Server, policy: str) -> None:
    """Where the manifest does not say what the model cannot take, the run fails, and its rows are told apart."""
    good = [[1, 2, 3], [9, 9, 9], [0, 0, 0], [4, 5, 6], [8, 8, 8]]
    rows = [*good, [1, 2, 99], *good, [10, 0, 0], [0, 77, 0], *good]
    requests = [act_request({"observation": row}, path=policy) for row in rows]
    requests.append(act_request({"observations": [*good, [1, 2, 99], *good]}, path=policy))
    raw = np.array([*good, [0, 10, 1]], "<i8").tobytes()
    requests.append(act_request(raw, path=policy, media_type=OCTETS))
    with server.connect() as wire:
        wire.send(b"".join(requests))
        answers = [wire.answer() for _ in requests]
    for row, answer in zip(rows, answers, strict=False):
        if max(row) > 9:
            assert answer.status == 422
            assert answer.json["errors"][0]["path"] == "observation"
        else:
            assert answer.json == {"action": expected_action(row), "version": 1}
    assert [answer.json["errors"][0]["path"] for answer in answers[-2:]] == ["observations[5]"] * 2
    assert "the model fails on an observation" in server.log.read_text()


@pytest.mark.parametrize("path", [MARKED, UNMARKED])
def test_eight_good_callers_never_feel_a_bad_one(server: Server, path: str) -> None:
    """Connections that repeat themselves, all at once."""

    def converse(i: int) -> None:
        row = [1, 2, 99] if i == 0 else [i, i, 9 - i]
        with server.connect() as wire:
            for _ in range(30):
                wire.send(act_request({"observation": row}, path=path))
                answer = wire.answer()
                assert answer.status == (422 if i == 0 else 200), answer.body
                assert i == 0 or answer.json["action"] == expected_action(row)

    with ThreadPoolExecutor(9) as callers:
        list(callers.map(converse, range(9)))
    assert server.ask(get_request("/healthz")).status == 200


def test_any_octet_but_zero_is_true(server: Server) -> None:
    """As for numpy, C and TensorFlow; alone, in batches, and among other values of an object."""
    octets = np.random.default_rng(0).integers(0, 256, (40, 3), np.uint8) * np.array([1, 1, 0], np.uint8)
    path = "/v1/policies/bools/act"
    expected = server.ask(act_request({"observations": (octets != 0).tolist()}, path=path)).json["actions"]
    answer = server.ask(act_request(octets.tobytes(), path=path, media_type=OCTETS))
    assert np.frombuffer(answer.body, "<i8").tolist() == expected
    with server.connect() as wire:
        wire.send(b"".join(act_request(row.tobytes(), path=path, media_type=OCTETS) for row in octets))
        assert [np.frombuffer(wire.answer().body, "<i8")[0] for _ in octets] == expected
    url = f"ws://{server.host}:{server.port}/v1/policies/bools/stream"
    with connect(url) as stream:
        stream.send(bytes([2, 0, 255]))
        assert stream.recv() == np.array([weigh([TensorSpec("x", (3,), "bool")], [1, 0, 1]) < 0], "<i8").tobytes()


def test_the_octets_of_bools_among_others(server: Server) -> None:
    """In a row of several tensors."""
    row = bytes([7, 0]) + np.float32(-12.5).tobytes() + bytes([0, 128])
    seen: dict[str, Any] = {"on": [True, False], "level": -12.5, "off": [[False, True]]}
    told = server.ask(act_request({"observation": seen}, path=SWITCHES)).json["action"]
    assert told == int(weigh(SWITCHED, [1, 0], -12.5, [0, 1]) < 0)
    answer = server.ask(act_request(row, path=SWITCHES, media_type=OCTETS))
    assert np.frombuffer(answer.body, "<i8").tolist() == [told]


@pytest.mark.parametrize("policy", ["remembering", "remembering-unmarked"])
def test_an_episode_survives_the_failure_of_another(server: Server, policy: str) -> None:
    """A run that is repeated adds nothing twice to what the others remember; a refused step is not remembered."""
    path = f"/v1/policies/{policy}/act"

    def step(episode: int, row: list[int], first: bool) -> bytes:
        body = {"observation": row, "episode": f"{policy}-{episode}", "first": first, "outputs": ["q_values"]}
        return act_request(body, path=path)

    with server.connect() as wire:
        for turn in range(1, 5):
            wire.send(b"".join(step(i, [1, 2, 99 if i == turn else 3], turn == 1) for i in range(6)))
            answers = [wire.answer() for _ in range(6)]
            for i, answer in enumerate(answers):
                if i == turn:
                    assert answer.status == 422
                else:
                    steps = turn - (i < turn) if i > 0 else turn
                    assert answer.json["outputs"]["q_values"][0] == pytest.approx(6 * steps)


def test_several_rows_that_fail_only_together_are_blamed_together(server: Server) -> None:
    """Nobody can say which of them it is."""
    path = "/v1/policies/narrow/act"
    few, many = (np.zeros((rows, 4), "<f4").tobytes() for rows in (60, 1200))
    with server.connect() as wire:
        wire.send(act_request(few, path=path, media_type=OCTETS))
        assert wire.answer().status == 200
        wire.send(act_request(many, path=path, media_type=OCTETS))
        answer = wire.answer()
    if answer.status == 422:  # with buckets they run in several parts, and no part is too large
        assert answer.json["errors"][0]["path"] == "observations"
