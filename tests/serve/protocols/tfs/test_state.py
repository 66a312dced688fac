"""Policies with state: the request holds the state, or names an episode of which the server keeps it."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import pytest

from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.tfs.asking import error, predict
from tests.servers import Server, act_request

ROWS = np.random.default_rng(3).normal(size=(80, 4)).astype(np.float32)
EPISODES, STEPS = 64, 8
SPELLINGS = [("sum", "next_sum", "serving_default"), ("1", "state", "action")]


def q_values(rows: Any) -> Any:
    return np.asarray(rows).sum(axis=0) @ WEIGHTS + BIAS


@pytest.mark.parametrize(("given", "returned", "signature"), SPELLINGS)
def test_a_client_can_keep_the_state_itself(serving: Server, given: str, returned: str, signature: str) -> None:
    """The state comes back with each action, under the name that the signature gives it."""
    state = [[0.0] * 4] * 2
    for i in range(5):
        rows = ROWS[2 * i : 2 * i + 2]
        inputs = {"observation": rows.tolist(), given: state}
        outputs = predict(serving, "summing", {"inputs": inputs, "signature_name": signature}).json["outputs"]
        assert [*outputs] == ["action", returned]
        state = outputs[returned]
        seen = ROWS[: 2 * i + 2].reshape(-1, 2, 4)
        np.testing.assert_allclose(state, seen.sum(axis=0), rtol=1e-4, atol=1e-5)
        assert outputs["action"] == q_values(seen).argmax(axis=1).tolist()


@pytest.mark.parametrize(("given", "returned", "signature"), SPELLINGS)
def test_a_first_step_needs_no_state(serving: Server, given: str, returned: str, signature: str) -> None:
    """Its answer holds the state of the next one. FIRST in one row of two forgets the state of that row."""
    rows = {"instances": [{"observation": row.tolist(), "0/step_type": 0} for row in ROWS[:2]]}
    first = predict(serving, "summing", {**rows, "signature_name": signature}).json["predictions"]
    np.testing.assert_allclose([row[returned] for row in first], ROWS[:2], rtol=1e-5)
    mixed = [
        {"observation": ROWS[2 + i].tolist(), "0/step_type": i, given: first[i][returned]}
        for i in range(2)
    ]  # fmt: skip
    second = predict(serving, "summing", {"instances": mixed, "signature_name": signature}).json["predictions"]
    np.testing.assert_allclose([row[returned] for row in second], [ROWS[2], ROWS[1] + ROWS[3]], rtol=1e-4, atol=1e-5)


def test_many_interleaved_episodes_keep_apart(serving: Server) -> None:
    """64 episodes by id, in random order over four connections, begun by FIRST: each acts on its own sum."""
    mix = random.Random(0)
    steps = [episode for episode in range(EPISODES) for _ in range(STEPS)]
    mix.shuffle(steps)
    counts = dict.fromkeys(range(EPISODES), 0)
    wires = [serving.connect() for _ in range(4)]
    asked: list[list[tuple[int, int]]] = [[] for _ in wires]
    for episode in steps:
        asked[episode % len(wires)].append((episode, counts[episode]))
        counts[episode] += 1
    for wire, some in zip(wires, asked, strict=True):
        requests = []
        for episode, i in some:
            row = {"0/observation": ROWS[episode + i].tolist(), "0/step_type": min(i, 1)}
            body = {"instances": [row], "episode": f"tfs-{episode}", "output_filter": ["action", "q_values"]}
            requests.append(act_request(body, path="/v1/models/summing:predict"))
        wire.send(b"".join(requests))
    for wire, some in zip(wires, asked, strict=True):
        for episode, i in some:
            expected = q_values(ROWS[episode : episode + i + 1])
            (given,) = wire.answer().json["predictions"]
            np.testing.assert_allclose(given["q_values"], expected, rtol=1e-3, atol=1e-4)
            assert given["action"] == expected.argmax()
        wire.socket.close()


@pytest.mark.parametrize("name", ["text", 17, [["text"]], [17], {"b64": base64.b64encode(b"text").decode()}])
def test_an_episode_may_be_named_by_an_input(serving: Server, name: Any) -> None:
    """For clients that send nothing but tensors. It continues the episode that the field of the body names."""
    first = {"inputs": {"observation": [ROWS[0].tolist()], "step_type": [0], "episode": name}}
    assert predict(serving, "summing", first).status == 200
    plain_name = "17" if name in (17, [17]) else "text"
    second = {"inputs": [ROWS[1].tolist()], "episode": plain_name, "output_filter": ["q_values"]}
    np.testing.assert_allclose(
        predict(serving, "summing", second).json["outputs"], [q_values(ROWS[:2])], rtol=1e-4, atol=1e-5
    )


def test_a_row_of_an_episode_begins_anew_with_first(serving: Server) -> None:
    """An episode of two environments, of which one ends earlier."""
    sums = np.zeros((2, 4), np.float32)
    for i, step_types in enumerate([(0, 0), (1, 1), (0, 1), (1, 1)]):
        rows = ROWS[2 * i : 2 * i + 2]
        sums = np.where(np.array(step_types)[:, None] == 0, rows, sums + rows)
        inputs = {"observation": rows.tolist(), "step_type": [*step_types]}
        asked = {"inputs": inputs, "episode": "two", "output_filter": ["q_values"]}
        np.testing.assert_allclose(
            predict(serving, "summing", asked).json["outputs"], sums @ WEIGHTS + BIAS, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": [[0, 0, 0, 0]]}, 400, "episode: expected an id, or sum, or step_type 0 in all rows"),
        ({"inputs": {"observation": [[0] * 4], "step_type": [1]}}, 400, "episode: expected an id"),
        ({"inputs": {"observation": [[0] * 4] * 2, "step_type": [0, 1]}}, 400, "episode: expected an id"),
        ({"inputs": [[0, 0, 0, 0]], "episode": "nobody"}, 404, "begin it with step_type 0 in all rows"),
        ({"inputs": {"observation": [[0] * 4], "step_type": [1]}, "episode": "nobody"}, 404, "episode 'nobody'"),
        ({"inputs": {"observation": [[0] * 4], "sum": [[0] * 4]}, "episode": "x"}, 404, "episode 'x'"),
        ({"inputs": {"observation": [[0] * 4], "sum": [[0] * 3]}}, 400, "sum[0]: expected float32[4]"),
        ({"instances": [[0, 0, 0, 0]], "episode": ""}, 400, "episode"),
        ({"instances": [{"observation": [0] * 4, "episode": "a"}], "episode": "a"}, 400, "episode: expected it once"),
        ({"inputs": {"observation": [[0] * 4] * 2, "episode": ["a", "b"]}}, 400, "episode: expected one value"),
        ({"inputs": {"observation": [[0] * 4], "episode": {"b64": "/w=="}}}, 400, "episode: expected text in UTF-8"),
        ({"inputs": {"observation": [[0] * 4], "episode": {"b64": "?"}}}, 400, "episode: unable to base64 decode"),
    ],
)
def test_what_is_no_step_is_refused(serving: Server, body: dict[str, Any], status: int, words: str) -> None:
    """A step within an episode has to say where its state is."""
    answer = predict(serving, "summing", body)
    assert answer.status == status
    assert words in error(answer)


def test_a_step_with_both_kinds_of_state_is_refused(serving: Server) -> None:
    """An episode that is known, and the state."""
    first = {"inputs": {"observation": [[0] * 4], "step_type": [0]}, "episode": "both"}
    assert predict(serving, "summing", first).status == 200
    both = {"inputs": {"observation": [[0] * 4], "sum": [[0] * 4]}, "episode": "both"}
    assert "got both" in error(predict(serving, "summing", both))
