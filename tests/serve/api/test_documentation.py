"""What docs/serving.md shows of requests is what the server reads, and what it shows of answers is what is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rlway_client.contract.exploration import Explore
from rlway_client.contract.interface import NEUTRAL
from rlway_serve.messages.request import ActOptions, TimeStep
from tests.rewarded import rewarded_policy
from tests.servers import Server, act_request, running_server
from tests.steered import TUPLE, steered_policy

SERVING = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
OBSERVATION = [-20.0, 13.0, 9.0, -3.0]  # the one that has the page's answers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("documentation") / "models"
    steered_policy(models, "dict")
    steered_policy(models, "tuple", paths=TUPLE)
    steered_policy(models, "sampled", explore=Explore(temperature=1.0, sigma=1.0))
    rewarded_policy(models)
    with running_server(models, models.with_name("log")) as running:
        yield running


def section(title: str) -> str:
    """The text under a heading of the page."""
    return re.split(r"\n#{2,3} ", SERVING.split(f"# {title}\n")[1])[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ask(server: Server, policy: str, body: dict[str, Any]) -> Any:
    return server.ask(act_request(body, path=f"/v1/policies/{policy}/act")).json


def test_every_field_of_a_request_is_in_the_table() -> None:
    """And the table has no field that the server does not read."""
    table = section("Asking for actions").split("A JSON body may also have:")[1].split("**Streams.**")[0]
    fields = {cells[0].strip("`") for cells in rows(table) if cells[0].startswith("`")}
    assert fields == {field.name for field in msgspec.structs.fields(ActOptions)}


def test_the_parts_of_a_time_step_have_the_values_of_the_table() -> None:
    """Where a request gives none of them."""
    shown = {cells[0].strip("`"): float(cells[1]) for cells in rows(section("The time step")) if "`" in cells[0]}
    assert shown == NEUTRAL
    assert set(shown) == {field.name for field in msgspec.structs.fields(TimeStep)}


def test_the_sentence_of_a_fault_is_the_shown_one(server: Server) -> None:
    """A reward that is not a number."""
    (sentence,) = re.findall(r"`(time_step\.reward: [^`]+)`", section("The time step"))
    refused = ask(server, "rewarded", {"observation": OBSERVATION, "time_step": {"reward": float("nan")}})
    assert refused["detail"].rstrip(".") == sentence


def test_actions_of_several_parts_look_as_shown(server: Server) -> None:
    """For a dict, a tuple and a batch."""
    answers = [cells[1].strip("`") for cells in rows(section("Actions of several parts"))[1:]]
    single, pair, several = (json.loads(answer.replace(", …", "")) for answer in answers)
    assert ask(server, "dict", {"observation": OBSERVATION}) == single
    assert ask(server, "tuple", {"observation": OBSERVATION}) == pair
    assert ask(server, "tuple", {"observations": [OBSERVATION]}) == several


def test_the_shown_ways_to_explore_are_taken(server: Server) -> None:
    """Zeros ask for the greedy action of a policy that samples."""
    text = section("Exploration")
    assert '`{"temperature": 1.0, "sigma": 1.0}`' in text
    zeros = [json.loads(way) for way in re.findall(r'\{"[a-z]+": 0\}', text)]
    assert zeros == [{"temperature": 0}, {"sigma": 0}, {"epsilon": 0}]
    greedy = ask(server, "dict", {"observation": OBSERVATION})["action"]
    both: dict[str, Any] = zeros[0] | zeros[1]
    assert ask(server, "sampled", {"observation": OBSERVATION, "explore": both})["action"] == greedy
    assert ask(server, "sampled", {"observation": OBSERVATION, "explore": zeros[2]})["status"] == 422
