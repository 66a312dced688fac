"""Actions of several parts, and what a policy reads of the time step, over a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rlway_client import Explore
from rlway_client.contract.errors import RequestMalformed, RlwayError, SpecViolated
from tests.clients.conftest import MISUSED, Connect, Fail, Succeed
from tests.clients.remote.peers import answering, peer
from tests.racing import racing_policy
from tests.servers import Server, running_server

ROWS = np.array([[0.25, -1.0], [-2.0, 3.0], [0.0, 1.0]], np.float32)


@pytest.fixture(scope="module")
def racing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy whose action is a dict, one whose action is a tuple, and one that explores by default."""
    models = tmp_path_factory.mktemp("racing") / "models"
    racing_policy(models)
    racing_policy(models, "pair", paths=("0", "1"))
    racing_policy(models, "sampled", explore=Explore(temperature=1.0, sigma=1.0))
    with running_server(models, models.with_name("log"), "--default", "racing") as running:
        yield running


def test_an_action_is_what_the_environment_takes(connect: Connect, racing: Server) -> None:
    """A dict or a tuple, a whole number as an int, the rest in arrays of float32."""
    action = connect(racing.url).act(ROWS[0])
    assert (action["gear"], type(action["gear"])) == (0, int)
    assert action["steering"].dtype == np.float32
    assert action["steering"].tolist() == [0.25, -1.0]
    gear, steering = connect(racing.url, "pair").act(ROWS[1])
    assert (gear, steering.tolist()) == (1, [-2.0, 3.0])


def test_actions_of_a_batch_are_columns(connect: Connect, racing: Server) -> None:
    """Nested as one action is, with the rows in the first dimension of each array."""
    actions = connect(racing.url).act_batch(ROWS)
    assert actions["gear"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(actions["steering"], ROWS)
    gears, steerings = connect(racing.url, "pair").act_batch(ROWS[:1])
    assert (gears.tolist(), steerings.tolist()) == ([0], [[0.25, -1.0]])


def test_the_time_step_goes_with_the_request(connect: Connect, racing: Server) -> None:
    """A number, or a number for each row, as Python's or numpy's."""
    client = connect(racing.url)
    assert client.act(ROWS[0], time_step={"reward": np.float32(2.0)})["steering"].tolist() == [2.25, 1.0]
    for rewards in ([1.0, 2.0, 3.0], np.array([1, 2, 3])):
        actions = client.act_batch(ROWS, time_step={"reward": rewards})
        np.testing.assert_array_equal(actions["steering"], ROWS + np.array([[1], [2], [3]]))
    wrongs: list[dict[str, Any]] = [{"discount": 0.5}, {"reward": float("nan")}, {"reward": [1.0]}]
    for wrong in wrongs:
        with pytest.raises(SpecViolated, match="time_step"):
            client.act(ROWS[0], time_step=wrong)
    with pytest.raises(RequestMalformed, match="time_step"):
        client.act(ROWS[0], time_step={"rewards": 1.0})


def test_a_policy_that_is_sampled_by_default_can_be_asked_to_be_greedy(connect: Connect, racing: Server) -> None:
    """By an exploration of zero."""
    client = connect(racing.url, "sampled")
    assert len({tuple(client.act(ROWS[0])["steering"]) for _ in range(5)}) == 5
    assert client.act(ROWS[0], explore=Explore(temperature=0.0))["steering"].tolist() == [0.25, -1.0]


def test_the_command_line_prints_nested_actions(racing: Server, succeed: Succeed, fail: Fail) -> None:
    """As JSON; a tuple is an array."""
    asked = ["act", "--url", racing.url, "--policy"]
    assert json.loads(succeed(*asked, "racing", "[0.25, -1]")) == {"gear": 0, "steering": [0.25, -1.0]}
    assert json.loads(succeed(*asked, "pair", "[0.25, -1]", "--time-step", '{"reward": 1}')) == [0, [1.25, 0.0]]
    reply = json.loads(succeed(*asked, "racing", "[0.25, -1]", "--json", "--output", "logits_gear"))
    assert reply["action"]["gear"] == 0
    assert reply["outputs"] == {"logits_gear": [0.25, -1.0]}
    both = ["--temperature", "2", "--sigma", "1", "--seed", "3"]
    assert succeed(*asked, "racing", "[0, 0]", *both) == succeed(*asked, "racing", "[0, 0]", *both)
    for text in ("{", "3", '{"reward": "1"}', '{"reward": true}', "[1]"):
        assert "--time-step: expected a JSON object of numbers" in fail(
            *asked, "racing", "[0, 0]", "--time-step", text, status=MISUSED
        )


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ({"action": {"a": 1, "b": [1.5]}}, {"a": 1, "b": [1.5]}),
        ({"action": {"1": 2, "0": {"x": True}}}, ({"x": True}, 2)),
        ({"actions": [{"a": 1}, {"a": 2}]}, {"a": [1, 2]}),
        ({"actions": [{"0": [1.5]}, {"0": [2.5]}]}, ([[1.5], [2.5]],)),
    ],
)
def test_any_server_that_keeps_to_the_contract_is_understood(connect: Connect, answer: Any, action: Any) -> None:
    """Objects in objects, and tuples as objects with the keys "0", "1", …"""
    with peer(answering(json.dumps(answer | {"version": 1}).encode())) as url:
        client = connect(url)
        found = client.act_batch([[0]]) if "actions" in answer else client.act([0])
    np.testing.assert_equal(found, action)


@pytest.mark.parametrize("actions", [[{"a": 1}, {"b": 1}], [{"a": 1}, 2], [{"a": [1]}, {"a": [1, 2]}], {"a": 1}])
def test_rows_that_differ_are_no_answer_of_a_policy_server(connect: Connect, actions: Any) -> None:
    """A sentence, and no guess."""
    with peer(answering(json.dumps({"actions": actions, "version": 1}).encode())) as url:
        client = connect(url)
        with pytest.raises(RlwayError, match="not as a policy server does"):
            client.act_batch([[0], [0]])
