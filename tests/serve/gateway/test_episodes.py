"""Policies with a memory: an episode by its id, or a connection of its own; the sums are worked out by numpy."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from rlway_client import PolicyClient
from rlway_client.contract.errors import NotFound
from rlway_client.envs.episodes import make_env
from tests.bundles import BIAS, WEIGHTS, summing_policy
from tests.servers import ANSWER_S, OCTETS, RLWAY, Answer, Server, act_request, get_request, running_server, wait_until

ACT = "/v1/policies/summing/act"
ROWS = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)
Q_VALUES = ROWS.cumsum(axis=0) @ WEIGHTS + BIAS  # of an episode that observes them one after the other


@pytest.fixture(scope="module", params=[(), ("--buckets", "--max-batch", "4")], ids=["plain", "buckets"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("episodes") / "models"
    summing_policy(models)
    with running_server(models, models.with_name("log"), *request.param) as running:
        yield running


def body(row: Any, episode: str | None = None, first: bool = False) -> dict[str, Any]:
    named = {} if episode is None else {"episode": episode}
    return {"observation": row.tolist(), "outputs": ["q_values"]} | named | ({"first": True} if first else {})


def q_values(answer: Any) -> Any:
    return np.array(answer["outputs"]["q_values"])


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_an_episode_goes_on_where_it_was_until_it_begins_anew(server: Server, lane: str) -> None:
    """Every step acts on all that its episode has observed; `first` forgets it."""

    def ask(i: int, first: bool = False) -> Any:
        return server.ask(act_request(body(ROWS[i], f"steps-{lane}", first), lane=lane, path=ACT)).json

    for _ in range(2):
        for i in range(5):
            answer = ask(i, first=i == 0)
            np.testing.assert_allclose(q_values(answer), Q_VALUES[i], rtol=1e-4, atol=1e-5)
            assert answer["action"] == Q_VALUES[i].argmax()


def test_pipelined_steps_of_many_episodes_keep_apart_and_in_order(server: Server) -> None:
    """Steps of ten episodes, mixed over two connections: each sees its own, one after the other."""
    mix = random.Random(0)
    asked: list[list[tuple[int, int]]] = [[], []]
    for side in (0, 1):
        steps = [episode for episode in range(side, 10, 2) for _ in range(20)]
        mix.shuffle(steps)
        counts = dict.fromkeys(range(10), 0)
        for episode in steps:
            asked[side].append((episode, counts[episode]))
            counts[episode] += 1
    with server.connect() as left, server.connect() as right:
        for wire, steps_of in zip((left, right), asked, strict=True):
            wire.send(b"".join(act_request(body(ROWS[e + i], f"mix-{e}", i == 0), path=ACT) for e, i in steps_of))
        for wire, steps_of in zip((left, right), asked, strict=True):
            for e, i in steps_of:
                expected = ROWS[e : e + i + 1].sum(axis=0) @ WEIGHTS + BIAS
                np.testing.assert_allclose(q_values(wire.answer().json), expected, rtol=1e-3, atol=1e-4)


def test_several_environments_in_lock_step_are_one_episode(server: Server) -> None:
    """`observations` have a memory each; their number stays."""
    for i in range(4):
        rows = ROWS[i * 6 : i * 6 + 6]
        asked = {"observations": rows.tolist(), "outputs": ["q_values"], "episode": "six", "first": i == 0}
        answer = server.ask(act_request(asked, path=ACT)).json
        expected = ROWS[: i * 6 + 6].reshape(-1, 6, 4).sum(axis=0) @ WEIGHTS + BIAS
        np.testing.assert_allclose(q_values(answer), expected, rtol=1e-4, atol=1e-5)
    answer = server.ask(act_request({"observations": ROWS[:5].tolist(), "episode": "six"}, path=ACT))
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "observations")


@pytest.mark.parametrize(
    ("request_body", "status", "words"),
    [
        ({"episode": "nobody"}, 404, "first"),
        ({}, 422, "episode"),
        ({"first": True}, 422, "episode"),
        ({"episode": ""}, 404, "first"),
        ({"episode": "", "first": True}, 400, "episode"),
        ({"episode": "x" * 129, "first": True}, 400, "episode"),
        ({"episode": "kept", "version": 2}, 400, "version"),
    ],
)
def test_what_is_no_step_of_an_episode_is_refused(
    server: Server, request_body: dict[str, Any], status: int, words: str
) -> None:
    """In one sentence, and raw rows by POST, which can name no episode, too."""
    server.ask(act_request(body(ROWS[0], "kept", True), path=ACT))
    answer = server.ask(act_request(request_body | {"observation": [0, 0, 0, 0]}, path=ACT))
    assert answer.status == status
    assert words in answer.detail
    assert server.ask(act_request(bytes(16), path=ACT, media_type=OCTETS)).status == 422


def test_a_refused_step_is_not_remembered(server: Server) -> None:
    """NaN is 422, and the next step goes on from the one before it."""

    def ask(row: Any, first: bool = False) -> Answer:
        return server.ask(act_request(body(row, "refused", first), path=ACT))

    ask(ROWS[0], True)
    assert ask(np.array([0, np.nan, 0, 0])).status == 422
    np.testing.assert_allclose(q_values(ask(ROWS[1]).json), Q_VALUES[1], rtol=1e-4, atol=1e-5)


def test_a_stream_is_an_episode(server: Server) -> None:
    """It begins with the connection or with `first`; text and binary frames are steps of the same one."""
    url = f"ws://{server.host}:{server.port}/v1/policies/summing/stream"
    with connect(url, compression=None) as stream, connect(url, compression=None) as other:
        for begin in (False, True):
            for i, row in enumerate(ROWS[:10]):
                if i % 3 == 2:
                    stream.send(row.tobytes())
                    assert np.frombuffer(stream.recv(ANSWER_S, decode=False), "<i8") == [Q_VALUES[i].argmax()]
                else:
                    stream.send(json.dumps(body(row, first=begin and i == 0)))
                    answer = json.loads(stream.recv(ANSWER_S))
                    np.testing.assert_allclose(q_values(answer), Q_VALUES[i], rtol=1e-4, atol=1e-5)
                other.send(ROWS[0].tobytes())
        assert len([other.recv(ANSWER_S) for _ in range(20)]) == 20


def test_an_episode_stays_on_its_version_across_a_swap(tmp_path: Path, log: Path) -> None:
    """Version 1 is long unloaded for others when its last episodes still act with it, over POST and WebSocket."""
    summing_policy(tmp_path)
    with running_server(tmp_path, log, "--poll-s", "0.05", "--keep-versions", "1") as server:

        def version(episode: str, first: bool = False) -> int:
            answer = server.ask(act_request(body(ROWS[0], episode, first), path=ACT)).json
            return int(answer["version"])

        assert version("old", True) == 1
        with connect(f"ws://{server.host}:{server.port}/v1/policies/summing/stream", compression=None) as stream:
            stream.send(json.dumps(body(ROWS[0])))
            assert json.loads(stream.recv(ANSWER_S))["version"] == 1
            summing_policy(tmp_path, version=2, bias=0.5)
            wait_until(lambda: version("new", True) == 2, "version 2 acts")
            described = server.ask(get_request("/v1/policies/summing"))
            assert described.json["versions"] == [2]
            assert version("old") == 1
            assert version("new") == 2
            for first, expected in ((False, 1), (True, 2)):
                stream.send(json.dumps(body(ROWS[0], first=first)))
                assert json.loads(stream.recv(ANSWER_S))["version"] == expected
        assert version("old", True) == 2


def test_episodes_end_when_nobody_asks_or_too_many_play(tmp_path: Path, log: Path) -> None:
    """The longest unused gives way at `--max-episodes`, and `--episode-ttl-s` ends the rest; both are counted.

    An episode of two environments takes the place of two.
    """
    summing_policy(tmp_path)
    with running_server(tmp_path, log, "--max-episodes", "2", "--episode-ttl-s", "2") as server:

        def status(episode: str, first: bool = False) -> int:
            return server.ask(act_request(body(ROWS[0], episode, first), path=ACT)).status

        def shows(line: str) -> bool:
            return line in server.ask(get_request("/metrics")).body.decode().splitlines()

        assert [status("a", True), status("b", True), status("a"), status("c", True)] == [200] * 4
        assert [status("b"), status("a"), status("c")] == [404, 200, 200]
        assert shows('rlway_episodes{policy="summing",version="1"} 2.0')
        assert shows('rlway_episodes_begun_total{policy="summing"} 3.0')
        assert shows('rlway_episodes_ended_total{policy="summing",reason="evicted"} 1.0')
        pair = {"observations": ROWS[:2].tolist(), "episode": "pair", "first": True}
        assert server.ask(act_request(pair, path=ACT)).status == 200
        assert [status("a"), status("c")] == [404, 404]
        wait_until(lambda: shows('rlway_episodes_ended_total{policy="summing",reason="expired"} 1.0'), "it expires")
        assert status("pair") == 404


def test_a_request_may_end_its_episode(tmp_path: Path, log: Path) -> None:
    """So the Open Inference Protocol does with `sequence_end`. An episode that began meanwhile under the id goes on."""
    summing_policy(tmp_path)
    infer = "/v2/models/summing/infer"

    def step(i: int, **parameters: Any) -> bytes:
        sent = {"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": ROWS[i].tolist()}
        content = {"inputs": [sent], "outputs": [{"name": "q_values"}], "parameters": {"sequence_id": 5} | parameters}
        return act_request(content, path=infer)

    with running_server(tmp_path, log) as server:

        def shows(line: str) -> bool:
            return line in server.ask(get_request("/metrics")).body.decode().splitlines()

        assert server.ask(step(0, sequence_start=True)).status == 200
        assert shows('rlway_episodes{policy="summing",version="1"} 1.0')
        assert server.ask(step(1, sequence_end=True)).status == 200
        assert shows('rlway_episodes_ended_total{policy="summing",reason="finished"} 1.0')
        assert not shows('rlway_episodes{policy="summing",version="1"} 1.0')
        assert server.ask(act_request(body(ROWS[0], "5"), path=ACT)).status == 404
        with server.connect() as wire:
            wire.send(step(0, sequence_start=True) + step(1, sequence_end=True))
            wire.send(step(0, sequence_start=True) + step(1))
            for i in (0, 1, 0, 1):
                found = wire.answer().json["outputs"][0]["data"]
                np.testing.assert_allclose(found, Q_VALUES[i], rtol=1e-4, atol=1e-5)
        assert server.ask(step(2)).json["outputs"][0]["data"] == pytest.approx(Q_VALUES[2].tolist(), rel=1e-4)


def test_a_client_plays_an_episode(server: Server) -> None:
    """`PolicyClient(episode=…)` begins it with its first action, and with the first one after `reset`."""
    with PolicyClient(server.url, "summing", episode="client") as client:
        for _ in range(2):
            client.reset()
            for i in range(4):
                reply = client.ask(ROWS[i], outputs=("q_values",))
                np.testing.assert_allclose(reply.outputs["q_values"], Q_VALUES[i], rtol=1e-4, atol=1e-5)
    with PolicyClient(server.url, "summing") as client, pytest.raises(NotFound):
        client.ask(ROWS[0], episode="somebody-else")


def test_remote_environments_are_an_episode_each(server: Server) -> None:
    """`rlway play` with a memory: the returns are those of the same sums, worked out here."""
    command = [str(RLWAY), "play", "--url", server.url, "--policy", "summing", "--env", "CartPole-v1", "--json"]
    done = subprocess.run([*command, "--episodes", "4", "--envs", "2"], check=True, capture_output=True)
    returns = []
    env = make_env("CartPole-v1")
    for i in range(4):
        seen, _ = env.reset(seed=1000 + i)
        total, ended, steps = np.zeros(4, np.float32), False, 0
        while not ended:
            total += seen
            seen, _, terminated, truncated, _ = env.step(int((total @ WEIGHTS + BIAS).argmax()))
            ended = terminated or truncated
            steps += 1
        returns.append(float(steps))
    assert json.loads(done.stdout)["returns"] == returns
