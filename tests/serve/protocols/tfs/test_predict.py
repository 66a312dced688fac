"""Predict requests in row and column format, with every name that an input may have."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.tfs.asking import ACTIONS, OTHER, ROW, predict
from tests.servers import LANES, Server

NAMES = ("observation", "0/observation")
BODIES: list[dict[str, Any]] = [
    {"instances": [ROW]},
    {"inputs": [ROW]},
    *({"instances": [{name: ROW}]} for name in NAMES),
    *({"inputs": {name: [ROW]}} for name in NAMES),
]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("body", BODIES, ids=json.dumps)
def test_one_row_is_answered_in_the_format_of_the_request(serving: Server, body: dict[str, Any], lane: str) -> None:
    """Rows give `predictions`, columns `outputs`; a policy has one output, whose value has no name."""
    key = "predictions" if "instances" in body else "outputs"
    for more in ({}, {"signature_name": "serving_default"}, {"signature_name": "action"}, {"deadline_ms": 60_000}):
        answer = predict(serving, "linear", body | more, lane)
        assert (answer.status, answer.json) == (200, {key: ACTIONS[:1]})
        assert answer.headers["content-type"] == "application/json"


def test_several_rows_are_answered_in_order(serving: Server) -> None:
    """In both formats."""
    rows = [ROW, OTHER, OTHER, ROW]
    expected = [0, 1, 1, 0]
    assert predict(serving, "linear", {"instances": rows}).json == {"predictions": expected}
    assert predict(serving, "linear", {"instances": [{"observation": row} for row in rows]}).json == {
        "predictions": expected
    }
    assert predict(serving, "linear", {"inputs": {"0/observation": rows}}).json == {"outputs": expected}


def test_a_whole_time_step_may_be_given(serving: Server) -> None:
    """As TF-Agents' signature has it; a policy that reads only the observation ignores sound values of the rest."""
    step = {"0/observation": ROW, "0/step_type": 1, "0/reward": 0.5, "0/discount": 1}
    plain_names = {name.removeprefix("0/"): value for name, value in step.items()}
    for given in (step, plain_names):
        rows = {"instances": [given], "signature_name": "action"}
        columns = {"inputs": {name: [value] for name, value in given.items()}, "signature_name": "action"}
        assert predict(serving, "linear", rows).json == {"predictions": [0]}
        assert predict(serving, "linear", columns).json == {"outputs": [0]}


@pytest.mark.parametrize(("name", "value"), [("step_type", 3), ("step_type", 0.5), ("reward", 1e39), ("discount", "x")])
@pytest.mark.parametrize("prefix", ["", "0/"])
def test_an_unsound_part_of_the_time_step_is_refused(serving: Server, name: str, value: Any, prefix: str) -> None:
    """Also by a policy that does not read it."""
    given = {f"{prefix}observation": ROW, f"{prefix}{name}": value}
    answers = [
        predict(serving, "linear", {"instances": [given]}),
        predict(serving, "linear", {"inputs": {key: [part] for key, part in given.items()}}),
    ]
    for answer in answers:
        assert answer.status == 400
        assert f"{prefix}{name}[0]" in answer.json["error"]


def test_an_output_filter_chooses_the_outputs(serving: Server) -> None:
    """Several outputs are named: as an object for each row, or as columns by name."""
    q_values = np.array([ROW, OTHER]) @ WEIGHTS + BIAS
    both = {"output_filter": ["q_values", "action"]}
    rows = predict(serving, "linear", {"instances": [ROW, OTHER], **both}).json["predictions"]
    assert [row["action"] for row in rows] == ACTIONS
    np.testing.assert_allclose([row["q_values"] for row in rows], q_values, rtol=1e-5)
    columns = predict(serving, "linear", {"inputs": [ROW, OTHER], **both}).json["outputs"]
    assert columns["action"] == ACTIONS
    np.testing.assert_allclose(columns["q_values"], q_values, rtol=1e-5)
    one = predict(serving, "linear", {"inputs": [ROW, OTHER], "output_filter": ["q_values"]}).json["outputs"]
    np.testing.assert_allclose(one, q_values, rtol=1e-5)


def test_a_version_is_named_by_number_or_by_label(serving: Server) -> None:
    """Version 0 stands for none; all other requests go to the active version."""

    def first_q_value(model: str) -> float:
        answer = predict(serving, model, {"inputs": [[0, 0, 0, 0]], "output_filter": ["q_values"]})
        return float(answer.json["outputs"][0][0])

    asked = ["linear", "linear/versions/0", "linear/versions/1", "linear/labels/stable"]
    assert [round(first_q_value(model), 3) for model in asked] == [0.1] * 4
    assert [round(first_q_value(f"linear/{one}"), 3) for one in ("versions/2", "labels/canary")] == [1.1] * 2


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_plain_requests_go_to_the_version_in_the_url(serving: Server, lane: str) -> None:
    """Version 2 adds 1 to both Q-values, so the actions agree; an unknown version is refused."""
    for model, status in (("versions/1", 200), ("versions/2", 200), ("labels/canary", 200), ("versions/9", 404)):
        assert predict(serving, f"linear/{model}", {"instances": [ROW]}, lane).status == status


def test_a_policy_with_several_inputs_takes_them_by_name(serving: Server) -> None:
    """Their names in the manifest, or the path of each below `observation`."""
    camera, arm = [[200, 10], [3, 4]], [[1.0, 0.0, 0.5], [-1.0, 0.0, -0.5]]
    expected = (np.array(camera) * 0.01 + np.array(arm) @ WEIGHTS[:3]).argmax(axis=1).tolist()
    for names in (
        ("camera", "joints_arm"),
        ("observation/camera", "observation/joints/arm"),
        ("0/observation/camera", "0/observation/joints/arm"),
    ):
        rows = [dict(zip(names, row, strict=True)) for row in zip(camera, arm, strict=True)]
        assert predict(serving, "robot", {"instances": rows}).json == {"predictions": expected}
        columns = dict(zip(names, (camera, arm), strict=True))
        assert predict(serving, "robot", {"inputs": columns}).json == {"outputs": expected}


def test_actions_of_other_policies_are_written_too(serving: Server) -> None:
    """A continuous one is an array for each row; one without noise, and one of whole numbers, are asked alike."""
    rows = np.array([ROW, OTHER])
    answer = predict(serving, "gaussian", {"instances": rows.tolist()}).json["predictions"]
    np.testing.assert_allclose(answer, 2 * np.tanh(rows @ WEIGHTS), rtol=1e-5)
    assert predict(serving, "gaussian", {"inputs": [ROW]}).json["outputs"] == [answer[0]]
    assert predict(serving, "greedy", {"inputs": [ROW, OTHER]}).json == {"outputs": ACTIONS}
    assert predict(serving, "embedding", {"instances": [[1, 2, 3], [9, 9, 9]]}).json == {"predictions": [1, 0]}


def test_noise_is_an_input_that_may_be_left_out(serving: Server) -> None:
    """Without it a policy is greedy; `explore` and `seed` draw it on the server."""
    pushed = {"observation": [ROW], "noise": [[0.0, 100.0]]}
    assert predict(serving, "linear", {"inputs": pushed}).json == {"outputs": [1]}
    drawn = {"instances": [ROW] * 50, "explore": {"epsilon": 1.0}}
    answers = [predict(serving, "linear", drawn | {"seed": seed}).json["predictions"] for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    as_inputs = {"inputs": {"observation": [ROW] * 50, "seed": [[1]] * 50}, "explore": {"epsilon": 1.0}}
    assert predict(serving, "linear", as_inputs).json["outputs"] == answers[0]


def test_outputs_that_are_not_finite_are_written_as_tensorflow_serving_does(serving: Server) -> None:
    """With tokens that JSON does not have: NaN and Infinity."""
    asked = {"inputs": [[3e38, 0, 3e38, 0]], "output_filter": ["q_values", "action"]}
    answer = predict(serving, "linear", asked)
    assert answer.body == b'{"outputs":{"q_values":[[Infinity,-Infinity]],"action":[0]}}'
