"""What a request holds besides one observation: outputs by name, several observations, values by their names.

The oracle is the Python client.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlway_client import PolicyClient
from rlway_client.contract.errors import RlwayError, SpecViolated
from tests.cpp.compiled import NAMES, Driver, kind_of, numbers
from tests.servers import Server

OBSERVATIONS = np.random.default_rng(29).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture
def client(driver: Driver, server: Server) -> Driver:
    driver.tell("client", server.url, "linear", "", 60000, "")
    return driver


def test_outputs_come_by_name(client: Driver, server: Server) -> None:
    """With one observation and with several; none unless they are asked for."""
    with PolicyClient(server.url, "linear") as python:
        one = python.ask(OBSERVATIONS[0], outputs=("q_values",)).outputs["q_values"]
        all_rows = python.ask(OBSERVATIONS, batched=True, outputs=("q_values",)).outputs["q_values"]
    assert client.tell("ask int output=q_values :", numbers(OBSERVATIONS[0]))["outputs"] == {"q_values": one.tolist()}
    batch = client.tell("batch int 4 output=q_values :", numbers(OBSERVATIONS.ravel()))
    assert batch["outputs"] == {"q_values": all_rows.ravel().tolist()}
    assert client.tell("ask int :", numbers(OBSERVATIONS[0]))["outputs"] == {}


def test_an_output_that_is_not_finite_is_nan(driver: Driver) -> None:
    """JSON has null for it; an action has to be a number."""
    text = '{"action":[0.5],"version":1,"outputs":{"scale":[1.5,null],"loc":[[null]]}}'
    reply, _, _ = driver.tell("reply", 200, text.encode().hex())
    assert reply["outputs"] == {"scale": [1.5, None], "loc": [None]}
    refused, _, _ = driver.tell("reply", 200, text.replace("0.5", "null").encode().hex())
    assert kind_of(refused) == "UsageError"


@pytest.mark.parametrize(("policy", "kind", "size"), [("linear", "int", 1), ("gaussian", "float", 2)])
def test_several_observations_in_one_request(driver: Driver, server: Server, policy: str, kind: str, size: int) -> None:
    """As JSON and as raw rows; their actions follow one another."""
    driver.tell("client", server.url, policy, "", 60000, "")
    for rows in (1, 2, 40):
        with PolicyClient(server.url, policy) as python:
            expected = np.asarray(python.act_batch(OBSERVATIONS[:rows])).ravel().tolist()
        sent = numbers(OBSERVATIONS[:rows].ravel())
        assert driver.tell(f"batch {kind} 4 :", sent)["action"] == expected
        assert driver.tell(f"act {kind} {rows * size}", sent)["action"] == expected


def test_several_environments_step_together(driver: Driver, server: Server) -> None:
    """Each has a state of its own in the episode of their client."""
    driver.tell("client", server.url, "summing", "", 60000, "in-cpp-together")
    with PolicyClient(server.url, "summing", episode="in-python-together") as python:
        for step in range(0, 40, 8):
            rows = OBSERVATIONS[step : step + 8]
            assert driver.tell("batch int 4 :", numbers(rows.ravel()))["action"] == python.act_batch(rows).tolist()


@pytest.mark.parametrize(
    ("options", "rows"),
    [({}, [[0, 0, 0, 0], [0, np.nan, 0, 0]]), ({}, [[0, 0, 0], [0, 0, 0]]), ({"outputs": ("loc",)}, [[0, 0, 0, 0]])],
)
def test_errors_have_the_words_of_the_python_client(
    client: Driver, server: Server, options: dict[str, Any], rows: list[list[float]]
) -> None:
    """With the place of the row."""
    with PolicyClient(server.url, "linear") as python, pytest.raises(RlwayError) as caught:
        python.ask(np.array(rows, np.float32), batched=True, **options)
    written = " ".join(f"output={name}" for name in options.get("outputs", ()))
    answer = client.tell(f"batch int {len(rows[0])} {written}", ":", numbers(np.ravel(rows)))
    assert (kind_of(answer), answer["error"]) == (type(caught.value).__name__, str(caught.value))


def test_no_observation_is_no_batch(client: Driver) -> None:
    """It is not sent."""
    answer = client.tell("batch int 4 :")
    assert answer["error"] == "ask_batch: expected at least one observation, got none."


@pytest.mark.parametrize("actions", ["[1]", "[1,0,1]", "1", "[]", '{"0":1,"1":0}'])
def test_an_answer_for_other_rows_is_refused(driver: Driver, actions: str) -> None:
    """No program reads beyond the actions of its own observations."""
    text = f'{{"actions":{actions},"version":1}}'.encode().hex()
    answer, _, _ = driver.tell("reply 200", text, 2)
    assert kind_of(answer) in ("RlwayError", "UsageError")
    whole, _, _ = driver.tell("reply 200", b'{"actions":[[1,0],[0,1]],"version":1}'.hex(), 2)
    assert whole["action"] == [1, 0, 0, 1]


def test_values_go_by_name(client: Driver, server: Server) -> None:
    """By the constants of policy.h to their places, and by the names that the server knows, in any order."""
    with PolicyClient(server.url, "linear") as python:
        expected = [python.act(row) for row in OBSERVATIONS]
    reversed_rows = [f"by-name {numbers(row[::-1])}" for row in OBSERVATIONS]
    assert client.tell_all(reversed_rows) == [[("brake", "go")[action], action] for action in expected]
    assert {*expected} == {0, 1}


def test_names_lie_within_one_part_of_several(driver: Driver, server: Server) -> None:
    """The other part is a list."""
    driver.tell("client", server.url, "robot", "", 60000, "")
    with PolicyClient(server.url, "robot") as python:
        for row in OBSERVATIONS[:, :3]:
            expected = python.act({"camera": [3, 200], "joints": {"arm": row}})
            assert driver.tell("named-part", numbers(row[::-1]))["action"] == [expected]


def test_names_that_the_server_does_not_know_are_refused(driver: Driver, server: Server) -> None:
    """In its words, with their path."""
    driver.tell("client", server.url, "gaussian", "", 60000, "")
    with PolicyClient(server.url, "gaussian") as python, pytest.raises(SpecViolated) as caught:
        python.act(dict.fromkeys(NAMES, 0.5))
    assert driver.tell("by-name", "0.5 0.5 0.5 0.5")["error"] == str(caught.value)


def test_what_a_guard_changed_is_told(driver: Driver, server: Server) -> None:
    """By the bits of a policy.h, for one observation and for several."""
    driver.tell("client", server.url, "guarded", "", 60000, "")
    with PolicyClient(server.url, "guarded") as python:
        replies = [python.ask(row) for row in OBSERVATIONS]
    for row, reply in zip(OBSERVATIONS, replies, strict=True):
        told = driver.tell("ask float :", numbers(row))
        assert told["action"] == reply.action.tolist()
        assert told["guarded"] == (1 if reply.guarded else 0)
    assert {bool(reply.guarded) for reply in replies} == {True, False}
    assert driver.tell("batch float 4 :", numbers(OBSERVATIONS.ravel()))["guarded"] == 1
    text = b'{"action":1,"version":1,"guarded":{"wheel":["too_fast","non_finite"],"gear":["another"]}}'
    told, _, _ = driver.tell("reply 200", text.hex())
    assert told["guarded"] == 6
