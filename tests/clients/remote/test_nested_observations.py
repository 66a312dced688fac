"""Observations of several tensors as environments give them: tuples, lists, arrays and dicts, in any nesting."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from rlway_client.contract.errors import NotFound, ServerUnreachable, SpecViolated
from rlway_client.contract.nesting import arrange, grow, leaves
from tests.bundles import linear_policy
from tests.clients.conftest import AnyClient, Connect
from tests.clients.remote.peers import answering, peer
from tests.servers import Server, running_server
from tests.weighing import BLACKJACK, PAIR, ROBOT, weigh, weighing_policy


class Pose(NamedTuple):
    """A named tuple, as some environments give it."""

    arm: Any
    speed: Any


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy of each kind of nesting, and one that observes four numbers."""
    models = tmp_path_factory.mktemp("nested") / "models"
    weighing_policy(models, BLACKJACK, "blackjack")
    weighing_policy(models, ROBOT, "robot")
    weighing_policy(models, PAIR, "pair")
    linear_policy(models)
    with running_server(models, models.with_name("log")) as running:
        yield running


def weight(client: AnyClient, observation: Any) -> float:
    """The weighted sum that the policy computed, which tells which value has reached which input."""
    return float(client.ask(observation, outputs=("q_values",)).outputs["q_values"][0])


CAMERA = np.array([[1, 2], [3, 4]], np.uint8)
ARM = np.array([0.5, -1.0], np.float32)


@pytest.mark.parametrize(
    "observation",
    [(14, 10, 1), [14, 10, 1], np.array([14, 10, 1]), (14, 10, True), (np.int64(14), np.array(10), np.True_)],
    ids=["tuple", "list", "array", "with a flag", "of numpy's"],
)
def test_a_tuple_of_numbers_is_a_tuple_where_the_policy_observes_one(
    connect: Connect, nested: Server, observation: Any
) -> None:
    """Blackjack's observation, as the environment gives it and as people write it."""
    assert weight(connect(nested.url, "blackjack"), observation) == weigh(BLACKJACK, 14, 10, 1)


@pytest.mark.parametrize("observation", [(0.5, 0.25, 1, 0), [0.5, 0.25, 1, 0], np.array([0.5, 0.25, 1, 0])])
def test_a_tuple_of_numbers_is_an_array_where_the_policy_observes_that(
    connect: Connect, nested: Server, observation: Any
) -> None:
    """For a policy of one tensor, a tuple is a list."""
    client = connect(nested.url, "linear")
    np.testing.assert_allclose(client.ask(observation, outputs=("q_values",)).outputs["q_values"], [2.725, -2.375])
    assert client.act_batch((observation, observation)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "observation",
    [
        {"camera": CAMERA, "flags": (1,), "pose": (ARM, 2.0)},
        {"camera": CAMERA.tolist(), "flags": [1], "pose": [ARM, 2]},
        {"camera": CAMERA, "flags": np.array([1]), "pose": Pose(ARM, np.float32(2))},
        {"camera": CAMERA, "flags": {"0": 1}, "pose": {"0": ARM, "1": 2}},
        {"camera": CAMERA, "flags": {0: 1}, "pose": [[0.5, -1], 2]},
    ],
    ids=["tuples", "lists", "named", "objects", "mixed"],
)
def test_tuples_in_a_dict_are_taken_as_they_are(connect: Connect, nested: Server, observation: Any) -> None:
    """As tuples, lists, arrays, named tuples or objects."""
    assert weight(connect(nested.url, "robot"), observation) == weigh(ROBOT, CAMERA, 1, ARM, 2)


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_dict_in_a_tuple_is_taken_as_it_is(connect: Connect, nested: Server, kind: Any) -> None:
    """The outer one may be a tuple or a list."""
    observation = kind((ARM, {"hit": True, "near": [3.0]}))
    assert weight(connect(nested.url, "pair"), observation) == weigh(PAIR, ARM, 1, 3)


COLUMNS = (np.array([14, 9, 21]), np.array([10, 2, 5]), np.array([1, 0, 0]))  # as many rows as there are columns
ROWS = [(14, 10, 1), (9, 2, 0), (21, 5, 0)]


@pytest.mark.parametrize(
    "observations",
    [COLUMNS, ROWS, [list(row) for row in ROWS], np.array(ROWS)],
    ids=["columns", "rows", "lists", "array"],
)
def test_a_batch_of_tuples_is_a_tuple_of_columns_or_a_list_of_rows(
    connect: Connect, nested: Server, observations: Any
) -> None:
    """Rows are never taken for columns, even where there are as many of both."""
    reply = connect(nested.url, "blackjack").ask(observations, batched=True, outputs=("q_values",))
    assert reply.outputs["q_values"][:, 0].tolist() == [weigh(BLACKJACK, *row) for row in ROWS]


@pytest.mark.parametrize("form", ["columns", "rows"])
def test_a_batch_may_nest_as_deep_as_the_observation(connect: Connect, nested: Server, form: str) -> None:
    """Columns as gymnasium's vectorised environments give them: a dict of tuples of arrays."""
    cameras, flags = np.stack([CAMERA, CAMERA + 1]), np.array([True, False])
    arms, speeds = np.stack([ARM, 2 * ARM]), np.array([0.5, 0.25])
    rows: list[Any] = list(zip(cameras, flags, arms, speeds, strict=True))
    columns: Any = {"camera": cameras, "flags": (flags,), "pose": (arms, speeds)}
    listed: Any = [{"camera": c, "flags": (f,), "pose": (a, s)} for c, f, a, s in rows]
    observations = columns if form == "columns" else listed
    reply = connect(nested.url, "robot").ask(observations, batched=True, outputs=("q_values",))
    assert reply.outputs["q_values"][:, 0].tolist() == [weigh(ROBOT, *row) for row in rows]


@pytest.mark.parametrize(
    ("policy", "observation", "path"),
    [
        ("blackjack", (14, 10), "observation"),
        ("blackjack", (14, 10, 1.5), 'observation["2"]'),
        ("blackjack", (14, float("nan"), 1), 'observation["1"]'),
        ("pair", (ARM, (True, [3.0])), 'observation["1"]'),
        ("pair", (ARM, {"hit": True}), 'observation["1"]["near"]'),
        ("robot", {"camera": CAMERA, "flags": (1,), "pose": (ARM, 2), "more": (1, 2)}, 'observation["more"]'),
        ("linear", ((1, 2), 3), "observation"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_by_its_path(
    connect: Connect, nested: Server, policy: str, observation: Any, path: str
) -> None:
    """Whether the client or the server finds it."""
    with pytest.raises(SpecViolated) as refused:
        connect(nested.url, policy).act(observation)
    assert refused.value.faults[0].path == path


@pytest.mark.parametrize("columns", [COLUMNS[:2], (1, 2, 3), (COLUMNS[0], COLUMNS[1], COLUMNS[2][:2])])
def test_columns_that_do_not_fit_are_refused(connect: Connect, nested: Server, columns: Any) -> None:
    """Too few, single numbers, a shorter one: refused in one sentence, and never taken for rows."""
    with pytest.raises(SpecViolated, match="observations") as refused:
        connect(nested.url, "blackjack").act_batch(columns)
    assert len(str(refused.value)) < 300


def test_a_single_tuple_is_sent_as_an_array_if_the_server_does_not_describe_its_policy(connect: Connect) -> None:
    """As behind a proxy that passes act requests only. A batch is refused: rows could not be told from columns."""
    with peer(answering(json.dumps({"action": 1, "version": 3}).encode())) as url:
        assert connect(url, "any").act((1.0, 2.0)) == 1
    with peer(answering(b"{}", "404 Not Found")) as url, pytest.raises(NotFound):
        connect(url, "any").act_batch(((1.0, 2.0), (3.0, 4.0)))
    with pytest.raises(ServerUnreachable):
        connect("http://127.0.0.1:1").act((1.0, 2.0))


def test_what_the_policy_observes_is_asked_once_and_only_for_tuples(connect: Connect) -> None:
    """And again after a refusal, since another version may be active by then."""
    asked: list[bytes] = []
    manifest = {"observation": [{"name": str(i), "shape": [], "dtype": "int64", "path": [str(i)]} for i in range(2)]}
    errors = [{"path": "observation", "expected": "others", "got": "these"}]
    described = json.dumps({"manifest": manifest, "action": 1, "version": 3, "errors": errors}).encode()

    def answer(connection: socket.socket, _: threading.Event) -> None:
        while request := connection.recv(65536):
            asked.append(request.split(b"\r\n\r\n")[1] or b"GET")
            status = b"422 Unprocessable" if b"-1" in asked[-1] else b"200 OK"
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % (status, len(described)) + described)

    with peer(answer) as url:
        client = connect(url, "any")
        for observation in ([4, 5], (4, 5), {"0": 4, "1": (5, 6)}, (4, 5)):
            client.act(observation)
        with pytest.raises(SpecViolated):
            client.act((-1, 5))
        client.act((4, 5))
    listed, sent = b'{"observation":[4,5]}', b'{"observation":{"0":4,"1":5}}'
    nested, refused = b'{"observation":{"0":4,"1":[5,6]}}', b'{"observation":{"0":-1,"1":5}}'
    assert asked == [listed, b"GET", sent, nested, sent, refused, b"GET", sent]


def test_leaves_and_objects_agree() -> None:
    """A policy in this process and a request read an observation alike."""
    observation = {"camera": CAMERA, "flags": [1], "pose": Pose(ARM, 2.0)}
    tree = grow(ROBOT)
    found = {spec.name: (part, where) for spec, part, where in leaves(observation, tree)}
    assert found["arm"] == (ARM, 'observation["pose"]["0"]')
    assert arrange(observation, tree) == {"camera": CAMERA, "flags": {"0": 1}, "pose": {"0": ARM, "1": 2.0}}
    assert [spec.name for spec, *_ in leaves(observation, tree)] == [spec.name for spec in ROBOT]
