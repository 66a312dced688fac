"""What a policy draws: from each of its draws in turn, as the request says, or else as the manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from websockets.sync.client import connect

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.exploration import Explore, draw_noise
from rlway_client.contract.manifest import encode_manifest
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.settings import Settings
from tests.bundles import BIAS, WEIGHTS, gaussian_policy, greedy_policy, linear_policy, summing_policy
from tests.servers import JSON, OCTETS, Answer, Server, act_request, running_server
from tests.steered import DRAWS, TUPLE, Drive, drive, steered_policy

BOTH = Explore(temperature=1.0, sigma=1.0)
ASKED = {"temperature": 1.0, "sigma": 1.0}
GREEDY = {"temperature": 0, "sigma": 0}
ROW = [0.2, 0.0, 0.0, 0.7]
MANY = np.repeat(np.array([ROW], np.float32), 4000, axis=0)
ROWS = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)


def explores(bundle: Bundle, explore: Explore) -> None:
    """Makes a bundle's policy explore where a request does not say."""
    (bundle.path / "manifest.json").write_bytes(encode_manifest(replace(bundle.manifest, explore=explore)))


@pytest.fixture(scope="module", params=[(), ("--buckets", "--max-batch", "8")], ids=["plain", "buckets"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("draws") / "models"
    steered_policy(models)
    steered_policy(models, "sampled", explore=BOTH)
    steered_policy(models, "sampled-pair", paths=TUPLE, explore=BOTH)
    steered_policy(models, "sampled-lite", explore=BOTH, lite=True)
    steered_policy(models, "sampled-rows", explore=BOTH, rows=1)
    explores(linear_policy(models, "softmax"), Explore(temperature=1.0))
    explores(linear_policy(models, "epsilon"), Explore(epsilon=0.4))
    explores(gaussian_policy(models, "spread"), Explore(sigma=1.0))
    explores(summing_policy(models, "sampled-steps"), Explore(epsilon=1.0))
    greedy_policy(models)
    with running_server(models, models.with_name("log"), "--max-rows", "5000", *request.param) as running:
        yield running


@pytest.fixture(params=["hot", "query"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(server: Server, policy: str, body: dict[str, Any] | bytes, lane: str = "hot") -> Answer:
    media_type = OCTETS if isinstance(body, bytes) else JSON
    return server.ask(act_request(body, lane=lane, path=f"/v1/policies/{policy}/act", media_type=media_type))


def several(server: Server, policy: str, rows: AnyArray, lane: str = "hot", **options: Any) -> Drive:
    """The actions for these rows."""
    actions = ask(server, policy, {"observations": rows.tolist()} | options, lane).json["actions"]
    leaves = [(a["0"], a["1"]) if policy == "sampled-pair" else (a["gear"], a["wheel"]["steer"]) for a in actions]
    return Drive([gear for gear, _ in leaves], np.array([steer for _, steer in leaves]))


def check(given: Drive, expected: Drive) -> None:
    assert given.gear == expected.gear
    np.testing.assert_allclose(given.steer, expected.steer, rtol=1e-4, atol=1e-5)


def drawn(rows: AnyArray, explore: Explore, seed: int) -> Drive:
    return drive(rows, draw_noise(explore, len(rows), DRAWS, np.random.default_rng(seed)))


@pytest.mark.parametrize("policy", ["steered", "sampled", "sampled-pair", "sampled-lite", "sampled-rows"])
def test_every_part_gets_the_numbers_of_its_own_draw(server: Server, policy: str, lane: str) -> None:
    """Gumbel noise for the choice, normal noise for the values, in the order in which anyone draws with that seed."""
    for explore in (BOTH, Explore(temperature=0.5, sigma=0.0), Explore(temperature=0.0, sigma=2.0)):
        asked = {"temperature": explore.temperature, "sigma": explore.sigma}
        check(several(server, policy, ROWS, lane, explore=asked, seed=3), drawn(ROWS, explore, 3))


@pytest.mark.parametrize("policy", ["sampled", "sampled-pair", "sampled-lite", "sampled-rows"])
def test_the_manifest_says_what_is_drawn_where_the_request_does_not(server: Server, policy: str, lane: str) -> None:
    """With a seed the same as when asked for; a request may also ask for the greedy action."""
    check(several(server, policy, ROWS, lane, seed=11), drawn(ROWS, BOTH, 11))
    check(several(server, policy, ROWS, lane, explore=None, seed=11), drawn(ROWS, BOTH, 11))
    check(several(server, policy, ROWS, lane, explore=GREEDY), drive(ROWS))


def test_without_a_default_the_action_is_greedy(server: Server, lane: str) -> None:
    """A seed alone draws nothing."""
    check(several(server, "steered", ROWS, lane, seed=11), drive(ROWS))


def test_one_observation_is_sampled_as_well(server: Server, lane: str) -> None:
    """A seed means the same for it as for a batch of one; without one, actions differ."""
    for seed in range(5):
        single = ask(server, "sampled", {"observation": ROW, "seed": seed}, lane).json["action"]
        batch = ask(server, "sampled", {"observations": [ROW], "seed": seed}, lane).json["actions"]
        assert [single] == batch
    steers = {str(ask(server, "spread", {"observation": ROW}, lane).json["action"]) for _ in range(20)}
    assert len(steers) == 20


def test_plain_requests_are_sampled_from_the_softmax(server: Server) -> None:
    """Requests of one observation and nothing else, pipelined on one connection: none is answered greedily."""
    path = "/v1/policies/softmax/act"
    weights = np.exp(np.array(ROW, np.float32) @ WEIGHTS + BIAS)
    request = act_request({"observation": ROW}, path=path)
    with server.connect() as wire:
        taken = []
        for _ in range(40):
            wire.send(request * 50)
            taken += [wire.answer().json["action"] for _ in range(50)]
    assert abs(np.mean(taken) - weights[1] / weights.sum()) < 0.05


@pytest.mark.parametrize("bad", [[], [np.nan]], ids=["sound", "with one that is refused"])
def test_plain_octets_are_sampled(server: Server, bad: list[float]) -> None:
    """Each draws its own numbers; so they do where a row among them is not sound, and the others are run again."""
    path = "/v1/policies/spread/act"
    rows = [np.array(ROW, "<f4")] * 8
    rows[4:4] = [np.array([value, 0, 0, 0], "<f4") for value in bad]
    with server.connect() as wire:
        wire.send(b"".join(act_request(row.tobytes(), path=path, media_type=OCTETS) for row in rows))
        answers = [wire.answer() for _ in rows]
    assert [answer.status for answer in answers] == [200] * 4 + [422] * len(bad) + [200] * 4
    assert len({answer.body for answer in answers if answer.status == 200}) == 8


def test_a_default_exploration_needs_no_more_than_a_plain_call(tmp_path: Path) -> None:
    """The batch draws for its rows; an action of several parts is no plain call."""
    settings = Settings(models=tmp_path)
    one = replace(linear_policy(tmp_path, "softmax").manifest, explore=Explore(temperature=1.0))
    several = steered_policy(tmp_path, "sampled", explore=BOTH).manifest
    assert [ActDecoder(manifest, settings).plain_octets for manifest in (one, several)] == [16, -1]


def test_a_raw_request_is_sampled_too(server: Server, lane: str) -> None:
    """It cannot say how, so the manifest does: ε = 0.4 leaves a fifth of the moves to the worse of two actions."""
    rows = np.repeat(np.array([[100, 0, 0, 0]], np.float32), 4000, axis=0)
    actions = np.frombuffer(ask(server, "epsilon", rows.tobytes(), lane).body, "<i8")
    assert abs(actions.mean() - 0.2) < 0.04
    answer = ask(server, "sampled", MANY.tobytes(), lane)
    records = np.frombuffer(answer.body, [("gear", "<i8"), ("steer", "<f4", 2)])
    np.testing.assert_allclose(records["steer"].std(axis=0), 0.5, rtol=0.06)
    assert len(set(records["gear"].tolist())) > 1


def test_a_stream_is_sampled_in_both_forms(server: Server) -> None:
    """Text frames with a seed agree with HTTP; binary frames differ from each other."""
    with connect(f"ws://{server.host}:{server.port}/v1/policies/sampled/stream") as stream:
        stream.send(json.dumps({"observations": ROWS.tolist(), "seed": 4}))
        actions = json.loads(stream.recv())["actions"]
        assert [action["gear"] for action in actions] == drawn(ROWS, BOTH, 4).gear
        for _ in range(20):
            stream.send(ROWS[0].tobytes())
        assert len({stream.recv() for _ in range(20)}) == 20


def test_the_steps_of_an_episode_are_sampled(server: Server) -> None:
    """A policy with a state draws by default as well."""
    path = "/v1/policies/sampled-steps/act"
    with server.connect() as wire:
        actions = set()
        for i in range(40):
            body = {"observation": [100.0, 0, 0, 0], "episode": "draws", "first": i == 0}
            wire.send(act_request(body, path=path))
            actions.add(wire.answer().json["action"])
    assert actions == {0, 1}


def test_callers_with_and_without_seeds_share_a_batch(server: Server) -> None:
    """Equal seeds give equal actions side by side, and calls without a seed each draw their own numbers."""
    path = "/v1/policies/spread/act"
    bodies: list[dict[str, Any]] = [
        {"observation": ROW, "seed": 1},
        {"observation": ROW, "seed": 1},
        {"observation": ROW},
        {"observation": ROW},
        {"observation": ROW, "explore": {"sigma": 0}},
        {"observation": ROW, "explore": {"sigma": 0}, "seed": 9},
    ]
    with server.connect() as wire:
        wire.send(b"".join(act_request(body, path=path) for body in bodies))
        actions = [tuple(wire.answer().json["action"]) for _ in bodies]
    assert actions[0] == actions[1]
    assert len(set(actions[1:5])) == 4
    assert actions[4] == actions[5]
    np.testing.assert_allclose(actions[4], 2 * np.tanh(np.array(ROW) @ WEIGHTS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "explore", "path"),
    [
        ("steered", {"epsilon": 0.1}, "explore.epsilon"),
        ("sampled", {"temperature": -1}, "explore.temperature"),
        ("softmax", {"temperature": 1, "sigma": 1}, "explore"),
        ("spread", {"temperature": 1}, "explore.temperature"),
        ("greedy", {"temperature": 0}, "explore"),
    ],
)
def test_exploration_that_does_not_fit_the_draws_is_refused(
    server: Server, policy: str, explore: dict[str, float], path: str
) -> None:
    """By its path, also for a policy that has a default."""
    answer = ask(server, policy, {"observation": ROW, "explore": explore})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


def test_one_kind_may_be_asked_for_alone(server: Server) -> None:
    """What is not given of temperature and sigma stays greedy, whatever the manifest says."""
    check(several(server, "sampled", ROWS, explore={"sigma": 1.0}, seed=2), drawn(ROWS, Explore(sigma=1.0), 2))


def test_a_default_that_does_not_fit_is_not_served(tmp_path: Path) -> None:
    """A manifest whose exploration its draws cannot give is unsound, and the others are served."""
    bundle = steered_policy(tmp_path / "models", "broken")
    explores(bundle, Explore(epsilon=0.5))
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        answer = ask(server, "broken", {"observation": ROW})
        assert answer.status == 503
        assert "explore" in server.log.read_text()
