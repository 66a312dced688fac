"""Infer requests over REST through Triton's own client, and as bytes where that client cannot send them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from rlway_client.contract.specs import AnyArray
from rlway_serve.protocols.oip.datatypes import NAMES
from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.oip.infer_requests import ROW, Infer, in_json, in_octets, tensor
from tests.servers import LANES, Server
from tests.steered import drive

ROWS = np.random.default_rng(5).normal(size=(64, 4)).astype(np.float32)
Q_VALUES = ROWS @ WEIGHTS + BIAS


def given(array: AnyArray, binary: bool = True, name: str = "observation") -> triton.InferInput:
    """An input as Triton's client sends it."""
    sent = triton.InferInput(name, [*array.shape], NAMES[array.dtype.name])
    sent.set_data_from_numpy(array, binary_data=binary)
    return sent


@pytest.mark.parametrize("answered", [True, False], ids=["octets", "json"])
@pytest.mark.parametrize("sent", [True, False], ids=["octets", "json"])
@pytest.mark.parametrize("rows", [1, 64])
def test_tensors_go_and_come_as_json_and_as_octets(
    client: triton.InferenceServerClient, sent: bool, answered: bool, rows: int
) -> None:
    """Every mixture gives the actions that numpy works out; repeated requests go a shorter way."""
    wanted = [triton.InferRequestedOutput(name, binary_data=answered) for name in ("q_values", "action")]
    for _ in range(3):
        result = client.infer("linear", [given(ROWS[:rows], sent)], model_version="1", outputs=wanted)
        np.testing.assert_allclose(result.as_numpy("q_values"), Q_VALUES[:rows], rtol=1e-5)
        assert result.as_numpy("action").tolist() == Q_VALUES[:rows].argmax(axis=1).tolist()
        assert result.as_numpy("action").dtype == np.int64
        plain = client.infer("linear", [given(ROWS[:rows], sent)], "1", outputs=wanted[1:])
        assert plain.as_numpy("action").tolist() == Q_VALUES[:rows].argmax(axis=1).tolist()


def test_without_outputs_the_action_comes_as_octets(client: triton.InferenceServerClient) -> None:
    """So Triton's client asks, with `binary_data_output`; a continuous action keeps its bits."""
    for binary in (True, False):
        result = client.infer("gaussian", [given(ROWS[:1], binary)])
        assert [output["name"] for output in result.get_response()["outputs"]] == ["action"]
        np.testing.assert_allclose(result.as_numpy("action"), 2 * np.tanh(ROWS[:1] @ WEIGHTS), rtol=1e-5)
        assert result.as_numpy("action").dtype == np.float32


def test_the_answer_says_what_was_asked(client: triton.InferenceServerClient) -> None:
    """Model, version as text, the id if there was one; the active version unless the URL names another."""
    sent = [given(ROWS[:1])]
    known = client.infer("linear", sent, request_id="é-1").get_response()
    assert (known["model_name"], known["model_version"], known["id"]) == ("linear", "2", "é-1")
    assert "id" not in client.infer("linear", sent).get_response()
    assert client.infer("linear", sent, model_version="1").get_response()["model_version"] == "1"
    labelled = client.infer("linear", sent, parameters={"label": "old"}).get_response()
    assert labelled["model_version"] == "1"


@pytest.mark.parametrize("lane", LANES)
def test_every_lane_answers_alike(policies: Server, lane: str) -> None:
    """Plain and other requests; the data may be nested, and a request with an id gets the same answer with it."""
    flat, nested = tensor(), tensor(data=[ROW])
    expected = {
        "model_name": "linear",
        "model_version": "2",
        "outputs": [{"name": "action", "datatype": "INT64", "shape": [1], "data": [0]}],
    }
    own: dict[str, Any] = {"id": 'x"y'}
    for infer, further in (
        (in_json(flat), {}),
        (in_json(nested), {}),
        (in_json(flat, **own), own),
        (in_json(nested, **own, outputs=[{"name": "action"}], model_name="linear"), own),
        (in_json(flat, parameters={"timeout": 60_000_000, "priority": 3}), {}),
        (in_octets({"observation": np.array([ROW], "<f4")}), {}),
        (in_octets({"observation": np.array([ROW], "<f4")}, **own), own),
        (in_json(tensor(array=[ROW], dtype="float64")), {}),
        (Infer(b"\xef\xbb\xbf" + in_json(flat).body), {}),
    ):
        for _ in range(2):
            answer = policies.ask(infer.request(lane=lane))
            assert (answer.status, answer.json) == (200, expected | further)
            assert answer.headers["content-type"] == "application/json"
            assert "inference-header-content-length" not in answer.headers


def test_an_answer_of_octets_says_where_they_begin(policies: Server) -> None:
    """With an id as without, for a prepared answer and for others."""
    for name, fields in (("linear", {}), ("linear", {"id": "a"}), ("gaussian", {}), ("gaussian", {"id": "abc"})):
        infer = in_json(tensor(), parameters={"binary_data_output": True}, **fields)
        answer = policies.ask(infer.request(f"/v2/models/{name}/infer"))
        size = int(answer.headers["inference-header-content-length"])
        text, octets = json.loads(answer.body[:size]), answer.body[size:]
        assert text.get("id") == fields.get("id")
        assert text["outputs"][0]["parameters"] == {"binary_data_size": len(octets)} == {"binary_data_size": 8}
        assert answer.headers["content-type"] == "application/octet-stream"


def test_an_observation_of_several_inputs_may_mix_json_and_octets(policies: Server) -> None:
    """Each input by its name in the manifest or by its path, in any order."""
    camera, arm = np.array([[200, 10], [0, 255]], np.uint8), ROWS[:2, :3].copy()
    expected = (camera * np.float32(0.01) + arm @ WEIGHTS[:3]).argmax(axis=1).tolist()
    for infer in (
        in_json(tensor("camera", camera, "uint8"), tensor("joints_arm", arm)),
        in_octets({"joints/arm": arm, "observation/camera": camera}),
        in_octets({"camera": camera}, more=[tensor("joints_arm", arm)]),
        in_octets({"joints_arm": arm}, more=[tensor("0/observation/camera", camera, "uint8")]),
    ):
        answer = policies.ask(infer.request("/v2/models/robot/infer"))
        assert answer.json["outputs"][0]["data"] == expected


def test_an_action_of_several_parts_is_as_many_outputs(client: triton.InferenceServerClient) -> None:
    """All of them without `outputs`; those asked for, in the order of the request, with them."""
    expected = drive(ROWS)
    result = client.infer("steered", [given(ROWS)])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["action_gear", "action_wheel_steer"]
    assert result.as_numpy("action_gear").tolist() == expected.gear
    np.testing.assert_allclose(result.as_numpy("action_wheel_steer"), expected.steer, rtol=1e-4, atol=1e-5)
    names = ["logits_gear", "action_gear"]
    some = client.infer("steered", [given(ROWS)], outputs=[triton.InferRequestedOutput(name) for name in names])
    assert [output["name"] for output in some.get_response()["outputs"]] == names


@pytest.mark.parametrize("binary", [True, False], ids=["octets", "json"])
@pytest.mark.parametrize("dtype", [dtype for dtype in NAMES if dtype not in ("bool", "uint8", "int8")])
def test_every_datatype_is_cast_to_the_policys(client: triton.InferenceServerClient, dtype: str, binary: bool) -> None:
    """Whole numbers and floats of every width stand for the same observation."""
    row = np.array([[1, 2, 0, 100]]).astype(dtype)
    wanted = [triton.InferRequestedOutput("q_values")]
    result = client.infer("linear", [given(row, binary)], "1", outputs=wanted)
    np.testing.assert_allclose(result.as_numpy("q_values"), row.astype(np.float32) @ WEIGHTS + BIAS, rtol=1e-5)


def test_exploration_comes_as_parameters(client: triton.InferenceServerClient) -> None:
    """`explore` as an object or its text, and `seed`; or the noise itself as an input."""
    rows = np.zeros((200, 4), np.float32)

    def actions(**options: Any) -> list[int]:
        answer = client.infer("linear", [given(rows)], parameters=options).as_numpy("action")
        return answer.tolist()  # type: ignore[no-any-return]

    assert set(actions()) == {0}
    first = actions(explore={"epsilon": 1.0}, seed=3)
    assert set(first) == {0, 1}
    assert first == actions(explore='{"epsilon": 1.0}', seed=3) != actions(explore={"epsilon": 1.0}, seed=4)
    noise = np.tile(np.array([0, 1000], np.float32), (200, 1))
    noisy = client.infer("linear", [given(rows), given(noise, name="noise")])
    assert set(noisy.as_numpy("action").tolist()) == {1}


def test_the_parts_of_a_time_step_are_optional_inputs(client: triton.InferenceServerClient) -> None:
    """What is left out is as within an episode."""
    rows = ROWS[:2]
    plain = client.infer("rewarded", [given(rows)]).as_numpy("action")
    np.testing.assert_allclose(plain, np.stack([rows.sum(axis=1), [1, 1], [1, 1]], axis=1), rtol=1e-5)
    reward, step = np.array([2.0, 3.0], np.float32), np.array([0, 2], np.int32)
    told = client.infer("rewarded", [given(rows), given(reward, name="reward"), given(step, name="0/step_type")])
    expected = np.stack([rows.sum(axis=1) + reward, [1, 1], step], axis=1)
    np.testing.assert_allclose(told.as_numpy("action"), expected, rtol=1e-5)


def test_interleaved_sequences_keep_their_sums(client: triton.InferenceServerClient) -> None:
    """64 episodes with numbers and texts as ids, 6 steps each: every step is equal to the sum that numpy works out."""
    steps = np.random.default_rng(1).normal(size=(64, 6, 4)).astype(np.float32)
    expected = steps.cumsum(axis=1) @ WEIGHTS + BIAS
    wanted = [triton.InferRequestedOutput("q_values")]
    for i in range(6):
        for episode in range(64):
            result = client.infer(
                "summing",
                [given(steps[episode, i : i + 1], binary=episode % 3 > 0)],
                outputs=wanted,
                sequence_id=episode + 1 if episode % 2 else f"robot-{episode}",
                sequence_start=i == 0,
                sequence_end=i == 5,
            )
            np.testing.assert_allclose(result.as_numpy("q_values")[0], expected[episode, i], rtol=1e-4, atol=1e-5)


def test_a_sequence_ends_when_the_client_says_so(client: triton.InferenceServerClient) -> None:
    """A later step is refused until the sequence begins anew; a last step that is refused does not end it."""

    def step(start: bool = False, end: bool = False, width: int = 4) -> None:
        rows = np.ones((1, width), np.float32)
        client.infer("summing", [given(rows)], sequence_id=99, sequence_start=start, sequence_end=end)

    step(start=True)
    with pytest.raises(triton.InferenceServerException, match=r"observation: expected"):
        step(end=True, width=3)
    step(end=True)
    with pytest.raises(triton.InferenceServerException, match="episode '99': not known here"):
        step()
    step(start=True, end=True)
    with pytest.raises(triton.InferenceServerException, match="not known here"):
        step(end=True)
    with pytest.raises(triton.InferenceServerException, match="sequence_id: expected an id"):
        client.infer("summing", [given(ROWS[:1])])


def test_a_client_may_hold_the_policy_state_itself(client: triton.InferenceServerClient) -> None:
    """The state goes in as an input, and comes back as an output for the next step."""
    total = np.zeros((2, 4), np.float32)
    for i in range(3):
        result = client.infer("summing", [given(ROWS[i : i + 2]), given(total, name="sum")])
        np.testing.assert_allclose(result.as_numpy("next_sum"), total + ROWS[i : i + 2], rtol=1e-5)
        total = result.as_numpy("next_sum")
    with pytest.raises(triton.InferenceServerException, match="an episode or the policy's state itself, got both"):
        client.infer("summing", [given(ROWS[:2]), given(total, name="sum")], sequence_id=98, sequence_start=True)


def test_many_requests_at_once_get_their_own_answers(policies: Server) -> None:
    """Pipelined on several connections, with ids and without, plain ones and others, mixed with native requests."""
    mixed = np.random.default_rng(2)
    wires = [policies.connect() for _ in range(8)]
    asked: list[list[int]] = []
    for wire in wires:
        places = mixed.integers(0, 64, 40).tolist()
        asked.append(places)
        wire.send(b"".join(_ask(place).request("/v2/models/linear/versions/1/infer") for place in places))
    for wire, places in zip(wires, asked, strict=True):
        for place in places:
            answer = wire.answer().json
            assert answer["outputs"][-1]["data"] == [int(Q_VALUES[place].argmax())]
            assert answer.get("id") == (str(place) if place % 2 else None)
        wire.socket.close()


def _ask(place: int) -> Infer:
    row = ROWS[place : place + 1]
    own: dict[str, Any] = {"id": str(place)} if place % 2 else {}
    if place % 3 == 0:
        return in_octets({"observation": row}, **own)
    if place % 3 == 1:
        own["outputs"] = [{"name": "q_values"}, {"name": "action"}]
    return in_json(tensor(array=row), **own)


def test_a_missed_deadline_is_told_before_the_run(policies: Server) -> None:
    """`timeout` counts in microseconds."""
    for infer in (
        in_json(tensor(), parameters={"timeout": 1}),
        in_octets({"observation": np.array([ROW], "<f4")}, parameters={"timeout": 1}),
        in_json(tensor(), parameters={"timeout": 1}, outputs=[{"name": "q_values"}]),
    ):
        for _ in range(2):
            answer = policies.ask(infer.request())
            assert (answer.status, [*answer.json]) == (504, ["error"])
