"""What a good request is answered, by both lanes: the numbers are those that numpy computes from the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import BIAS, WEIGHTS
from tests.servers import JSON, OCTETS, Server, act_request

GAUSSIAN = "/v1/policies/gaussian/act"
ROWS: NDArray[np.float32] = np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)
UNDECIDED = [0.0, 0.0, 0.0, 0.1]  # both actions are worth 0.1


@pytest.fixture(params=["hot", "asgi"])
def lane(request: pytest.FixtureRequest) -> str:
    return "query" if request.param == "asgi" else "hot"


def q_values(rows: Any) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.asarray(rows, np.float32) @ WEIGHTS + BIAS
    return values


def ask(server: Server, lane: str, body: dict[str, Any], path: str = "/v1/policies/linear/act") -> Any:
    answer = server.ask(act_request(body, lane=lane, path=path))
    assert (answer.status, answer.headers["content-type"]) == (200, JSON), answer.body
    return answer.json


def test_one_observation_gives_the_greedy_action(linear: Server, lane: str) -> None:
    """`observation` is answered with `action` and `version`, and nothing else."""
    for row in ROWS[:10]:
        expected = int(q_values(row).argmax())
        assert ask(linear, lane, {"observation": row.tolist()}) == {"action": expected, "version": 1}


def test_several_observations_give_as_many_actions_in_their_order(linear: Server, lane: str) -> None:
    """`observations` is answered with `actions`."""
    expected = q_values(ROWS).argmax(axis=1).tolist()
    assert ask(linear, lane, {"observations": ROWS.tolist()}) == {"actions": expected, "version": 1}


def test_a_batch_of_one_is_still_a_batch(linear: Server, lane: str) -> None:
    """One row in `observations` gives a list of one action."""
    assert ask(linear, lane, {"observations": [[1, 0, 0, 0]]}) == {"actions": [0], "version": 1}


def test_the_only_policy_answers_act(linear: Server, lane: str) -> None:
    """`POST /act` is the default policy's route."""
    assert ask(linear, lane, {"observation": [-1, 0, 0, 0]}, "/act") == {"action": 1, "version": 1}


def test_continuous_actions_are_squashed_and_scaled(several: Server, lane: str) -> None:
    """The Gaussian policy's greedy action is 2 · tanh(observation · W)."""
    answer = ask(several, lane, {"observations": ROWS.tolist()}, GAUSSIAN)
    np.testing.assert_allclose(answer["actions"], 2 * np.tanh(ROWS @ WEIGHTS), rtol=1e-5, atol=1e-6)
    single = ask(several, lane, {"observation": ROWS[0].tolist()}, GAUSSIAN)
    np.testing.assert_allclose(single["action"], answer["actions"][0], rtol=1e-5)


def test_outputs_come_with_the_action_when_asked_for(linear: Server, lane: str) -> None:
    """`outputs: ["q_values"]` adds them, a row for each observation."""
    answer = ask(linear, lane, {"observations": ROWS.tolist(), "outputs": ["q_values"]})
    np.testing.assert_allclose(answer["outputs"]["q_values"], q_values(ROWS), rtol=1e-5, atol=1e-6)
    assert answer["actions"] == q_values(ROWS).argmax(axis=1).tolist()
    single = ask(linear, lane, {"observation": ROWS[3].tolist(), "outputs": ["q_values"]})
    np.testing.assert_allclose(single["outputs"]["q_values"], q_values(ROWS[3]), rtol=1e-5, atol=1e-6)


def test_raw_tensors_give_raw_actions(linear: Server, lane: str) -> None:
    """`application/octet-stream` takes little-endian float32 rows and gives little-endian int64 actions."""
    for rows in (ROWS[:1], ROWS):
        answer = linear.ask(act_request(rows.astype("<f4").tobytes(), lane=lane, media_type=OCTETS))
        assert (answer.status, answer.headers["content-type"]) == (200, OCTETS)
        assert np.frombuffer(answer.body, "<i8").tolist() == q_values(rows).argmax(axis=1).tolist()


def test_raw_continuous_actions_are_float32_rows(several: Server, lane: str) -> None:
    """The Gaussian policy's raw answer is float32[B, 2]."""
    answer = several.ask(act_request(ROWS.astype("<f4").tobytes(), lane=lane, path=GAUSSIAN, media_type=OCTETS))
    actions = np.frombuffer(answer.body, "<f4").reshape(-1, 2)
    np.testing.assert_allclose(actions, 2 * np.tanh(ROWS @ WEIGHTS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_media_type_may_have_parameters_and_capitals(linear: Server, lane: str, media_type: str) -> None:
    """What RFC 9110 calls equal is served equally."""
    answer = linear.ask(act_request({"observation": [1, 0, 0, 0]}, lane=lane, media_type=media_type))
    assert answer.json == {"action": 0, "version": 1}


@pytest.mark.parametrize("explore", [{"epsilon": 0.0}, {"temperature": 0}])
def test_exploring_by_nothing_is_greedy(linear: Server, lane: str, explore: dict[str, float]) -> None:
    """Zero noise is the greedy action."""
    answer = ask(linear, lane, {"observations": ROWS.tolist(), "explore": explore})
    assert answer["actions"] == q_values(ROWS).argmax(axis=1).tolist()


def test_sigma_zero_is_the_mean_action(several: Server, lane: str) -> None:
    """Zero noise is the greedy action of a continuous policy, too."""
    body = {"observations": ROWS.tolist()}
    assert ask(several, lane, body | {"explore": {"sigma": 0}}, GAUSSIAN) == ask(several, lane, body, GAUSSIAN)


@pytest.mark.parametrize(
    ("path", "explore"),
    [
        ("/v1/policies/linear/act", {"epsilon": 1.0}),
        ("/v1/policies/linear/act", {"temperature": 1.0}),
        (GAUSSIAN, {"sigma": 1.0}),
    ],
)
def test_a_seed_decides_the_sampled_actions(several: Server, path: str, explore: dict[str, float]) -> None:
    """The same seed gives the same actions each time and over either lane; another seed gives others."""
    body = {"observations": [UNDECIDED] * 64, "explore": explore}
    first = ask(several, "hot", body | {"seed": 7}, path)
    assert ask(several, "hot", body | {"seed": 7}, path) == first
    assert ask(several, "query", body | {"seed": 7}, path) == first
    assert ask(several, "hot", body | {"seed": 8}, path) != first


def test_without_a_seed_two_samples_differ(several: Server, lane: str) -> None:
    """Nothing is seeded behind the caller's back."""
    body = {"observations": [UNDECIDED] * 64, "explore": {"epsilon": 1.0}}
    assert ask(several, lane, body) != ask(several, lane, body)


def test_a_single_observation_samples_as_a_batch_of_one(linear: Server, lane: str) -> None:
    """The seed means the same for `observation` and for `observations`."""
    for seed in range(10):
        options = {"explore": {"epsilon": 1.0}, "seed": seed}
        single = ask(linear, lane, {"observation": UNDECIDED, **options})["action"]
        assert ask(linear, lane, {"observations": [UNDECIDED], **options})["actions"] == [single]


def test_epsilon_one_is_uniform(linear: Server, lane: str) -> None:
    """Every action is as likely, however good the best one is."""
    body = {"observations": [[100, 0, 0, 0]] * 4000, "explore": {"epsilon": 1.0}, "seed": 1}
    assert abs(np.mean(ask(linear, lane, body)["actions"]) - 0.5) < 0.05


def test_epsilon_is_the_share_of_random_moves(linear: Server, lane: str) -> None:
    """At ε = 0.4 and two actions, a fifth of the moves is not the greedy one."""
    body = {"observations": [[100, 0, 0, 0]] * 4000, "explore": {"epsilon": 0.4}, "seed": 1}
    assert abs(np.mean(ask(linear, lane, body)["actions"]) - 0.2) < 0.04


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_samples_the_softmax(linear: Server, lane: str, temperature: float) -> None:
    """Frequencies are softmax(q / T)."""
    row = [0.2, 0.0, 0.0, 0.7]
    weights = np.exp(q_values(row) / temperature)
    body = {"observations": [row] * 4000, "explore": {"temperature": temperature}, "seed": 3}
    assert abs(np.mean(ask(linear, lane, body)["actions"]) - weights[1] / weights.sum()) < 0.04


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_sigma_scales_the_trained_spread(several: Server, lane: str, sigma: float) -> None:
    """arctanh(action / 2) is normal around loc with a deviation of σ · 0.5."""
    row = [0.1, 0.0, 0.0, 0.1]
    body = {"observations": [row] * 4000, "explore": {"sigma": sigma}, "seed": 3}
    before = np.arctanh(np.array(ask(several, lane, body, GAUSSIAN)["actions"]) / 2)
    np.testing.assert_allclose(before.mean(axis=0), np.array(row) @ WEIGHTS, atol=0.04)
    np.testing.assert_allclose(before.std(axis=0), 0.5 * sigma, rtol=0.06)


def test_the_served_version_may_be_asked_for_by_number(linear: Server, lane: str) -> None:
    """`version` names the one that is served."""
    assert ask(linear, lane, {"observation": [1, 0, 0, 0], "version": 1}) == {"action": 0, "version": 1}


def test_a_deadline_that_can_be_met_is_met(linear: Server, lane: str) -> None:
    """`deadline_ms` refuses only what comes too late."""
    assert ask(linear, lane, {"observation": [1, 0, 0, 0], "deadline_ms": 10_000})["action"] == 0


@pytest.mark.parametrize("value", [1, -0.0, 1e-45, 3.4e38, -3.4e38])
def test_every_finite_float32_is_an_observation(linear: Server, lane: str, value: float) -> None:
    """The spec has no bounds, so the ends of float32 are served; the answer is finite JSON."""
    answer = ask(linear, lane, {"observation": [0, value, 0, 0]})
    assert answer["action"] in (0, 1)
