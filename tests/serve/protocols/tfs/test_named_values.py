"""Values by name over TensorFlow Serving: the same action as in order, and faults that say the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import ovmsclient
import pytest

from rlway_client.protos.tensorflow_serving_pb2 import PredictRequest
from tests.rpc import FLOAT, PREDICT, Outcome, ask, read_prediction
from tests.serve.protocols.named_rows import ACTIONS, ARM, COLUMNS, NAN, OBJECTS, ROWS
from tests.servers import Server, act_request


def predict(named: Server, body: dict[str, Any] | bytes, policy: str = "linear") -> Any:
    answer = named.ask(act_request(body, path=f"/v1/models/{policy}:predict"))
    assert (answer.status == 200) == ("error" not in answer.json)
    return answer.json


def columns(root: str = "") -> dict[str, list[float]]:
    return {root + name: column.tolist() for name, column in COLUMNS.items()}


@pytest.mark.parametrize(
    "body",
    [
        {"instances": OBJECTS},
        {"instances": [{"observation": row} for row in OBJECTS]},
        {"instances": [{"observation": row, "step_type": 0} for row in OBJECTS]},
        {"instances": [row | {"step_type": 0, "reward": 0} for row in OBJECTS]},
        {"instances": [{f"observation/{name}": value for name, value in row.items()} for row in OBJECTS]},
        {"instances": [{"observation": ROWS[0].tolist()}, *({"observation": row} for row in OBJECTS[1:])]},
    ],
    ids=["rows", "under the input", "beside an input", "beside inputs", "with a path", "some by name"],
)
def test_rows_of_tensorflow_serving_may_be_objects_of_names(named: Server, body: dict[str, Any]) -> None:
    """In place of each row, or of the input's value in it."""
    assert predict(named, body) == {"predictions": ACTIONS}
    for i, row in enumerate(body["instances"]):
        assert predict(named, {"instances": [row]}) == {"predictions": ACTIONS[i : i + 1]}


@pytest.mark.parametrize(
    "inputs",
    [OBJECTS, {"observation": OBJECTS}, {"0/observation": OBJECTS}, columns(), columns("observation/")],
    ids=["rows", "under the input", "under TF-Agents' name", "columns", "columns with a path"],
)
def test_columns_of_tensorflow_serving_may_have_names(named: Server, inputs: Any) -> None:
    """A column for each name, as a table has them, or a column of objects."""
    assert predict(named, {"inputs": inputs}) == {"outputs": ACTIONS}


def test_several_tensors_take_names_where_they_have_some(named: Server) -> None:
    """A row as an object, and its values by the path of their keys."""
    arm = dict(zip(ARM, (0.5, -1.0, 2.0), strict=True))
    asked = {"output_filter": ["q_values"]}
    listed = predict(named, {"instances": [{"camera": [1, 2], "joints/arm": [0.5, -1, 2]}], **asked}, "robot")
    assert "predictions" in listed
    flat = {f"joints/arm/{name}": value for name, value in arm.items()}
    for row in ({"joints_arm": arm}, {"joints/arm": arm}, flat):
        assert predict(named, {"instances": [{"camera": [1, 2], **row}], **asked}, "robot") == listed
    refused = predict(named, {"instances": [{"camera": [1, 2], **arm}]}, "robot")
    assert refused["error"].startswith("hip: expected an input of the policy: camera, joints_arm, ")
    assert "got the end of joints/arm/hip" in refused["error"]


def test_an_episode_is_told_of_beside_names(named: Server) -> None:
    """`first` and the id are those of any other request."""
    told = [
        predict(named, {"instances": [row | {"step_type": int(i > 0)}], "episode": "named"}, "summing")
        for i, row in enumerate(OBJECTS)
    ]
    listed = [
        predict(
            named,
            {"instances": [{"observation": row.tolist(), "step_type": int(i > 0)}], "episode": "listed"},
            "summing",
        )
        for i, row in enumerate(ROWS)
    ]
    assert told == listed


def test_an_element_that_is_called_as_an_option_begins_no_episode(named: Server) -> None:
    """`reset` begins one only where it is an input, which it is for policies with a state."""
    row = {"reset": 1.0, "dx": 0.0, "angle": 0.0, "spin": 0.0}
    asked = {"instances": [row], "episode": "never-begun"}
    assert "not known here" in predict(named, asked, "resetting")["error"]
    assert predict(named, asked | {"instances": [row | {"step_type": 0}]}, "resetting") == {"predictions": [0]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dx": NAN}, "dx[0]: expected finite float32, got NaN"),
        ({"dx": 1e39}, "dx[0]: expected finite float32, got 1e+39"),
        ({"dx": "fast"}, "dx[0]: expected float32, got a string"),
        ({"dx": [1]}, "dx[0]: expected float32, got an array of 1"),
        ({"dx": None}, "dx[0]: expected float32, got null"),
        ({"turn": 1}, "turn: expected an input of the policy: observation, noise, reward"),
        ({"observation": [0, 0, 0, 0]}, "expected either observation or its elements, got both"),
        ({"observation/x": 1}, "observation/x: expected x once, got it twice"),
    ],
)
def test_a_fault_in_a_row_says_the_name(named: Server, change: dict[str, Any], sentence: str) -> None:
    """As the request wrote it, and the row."""
    refused = predict(named, {"instances": [OBJECTS[0] | change]})
    assert sentence in refused["error"]
    if set(change) == {"dx"}:
        nested = predict(named, {"instances": [{"observation": OBJECTS[0] | change}]})
        assert nested["error"].startswith(f'observation[0]["dx"]{sentence.removeprefix("dx[0]")}')
        columnar = predict(named, {"inputs": columns() | {"dx": [0.0, *change.values(), 0.0, 0.0, 0.0, 0.0]}})
        assert columnar["error"].startswith(sentence.replace("[0]", "[1]", 1))


def test_a_name_that_is_missing_is_told(named: Server) -> None:
    """With the misspelt one first, which is the mistake."""
    row = {("sping" if name == "spin" else name): value for name, value in OBJECTS[0].items()}
    refused = predict(named, {"instances": [row]})
    assert refused["error"].startswith("sping: expected an input of the policy: observation, noise")
    assert refused["error"].endswith("got a name close to spin (and 1 more)")
    del row["sping"]
    assert predict(named, {"instances": [row]})["error"] == "spin: expected float32, got nothing"
    short = columns() | {"dx": [0.0]}
    assert predict(named, {"inputs": short})["error"].startswith("dx: expected 6 rows, as the elements before it, got")


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [{"x": 1, "dx": 2, "angle": 3, "dx": 5, "spin": 4}]}',
        b'{"instances": [{"observation": {"x": 1, "dx": 2, "angle": 3, "spin": 4, "dx": 5}}]}',
        b'{"inputs": {"x": [1], "dx": [2], "angle": [3], "spin": [4], "dx": [5]}}',
        b'{"inputs": [{"x": 1, "dx": 2, "angle": 3, "dx": 5, "spin": 4}]}',
    ],
)
def test_a_name_that_comes_twice_is_refused(named: Server, body: bytes) -> None:
    """A parser that keeps the last value would hide the mistake."""
    assert predict(named, body)["error"] == "body: expected each name once, got 'dx' twice."


def test_a_policy_without_names_takes_none(named: Server) -> None:
    """It says what it takes, as before."""
    assert predict(named, {"instances": OBJECTS}, "nameless")["error"].startswith(
        "spin: expected an input of the policy: observation, noise, "
    )
    nested = predict(named, {"instances": [{"observation": OBJECTS[0]}]}, "nameless")
    assert nested["error"].startswith("observation[0]: expected float32[4], got an object")


def prediction_of(named: Server, arrays: Mapping[str, Any], policy: str = "linear") -> Outcome:
    """The outcome of a request with these inputs."""
    request = PredictRequest(model_spec={"name": policy})
    for name, array in arrays.items():
        tensor = request.inputs[name]
        tensor.dtype, tensor.tensor_content = FLOAT, np.asarray(array, "<f4").tobytes()
        for size in np.shape(array):
            tensor.tensor_shape.dim.add(size=size)
    return ask(named, PREDICT, request.SerializeToString())


def test_inputs_of_tensorflow_serving_over_grpc_may_be_elements(named: Server) -> None:
    """One of shape [B] for each, or [B, 1]."""
    for arrays in (COLUMNS, {f"observation/{name}": column[:, None] for name, column in COLUMNS.items()}):
        tensor = read_prediction(prediction_of(named, arrays).answer).outputs["action"]
        assert np.frombuffer(tensor.tensor_content, "<i8").tolist() == ACTIONS
    refused = prediction_of(named, COLUMNS | {"dx": [0, 0, NAN, 0, 0, 0]})
    assert (refused.code, refused.sentence) == (
        "INVALID_ARGUMENT",
        "dx[2]: expected finite float32, got NaN",
    )
    refused = prediction_of(named, COLUMNS | {"dx": np.zeros((6, 2))})
    assert refused.sentence == "dx: expected the shape [B], got [6, 2]"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_client_that_other_people_wrote_sends_elements(named: Server, transport: str) -> None:
    """Unmodified: each name is an input to it."""
    if transport == "http":
        client = ovmsclient.make_http_client(f"{named.host}:{named.port}")
    else:
        client = ovmsclient.make_grpc_client(named.grpc)
    assert client.predict(COLUMNS, "linear").tolist() == ACTIONS
