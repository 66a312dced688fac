"""Values by name over the Open Inference Protocol: an input for each, and faults that say the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from rlway_client.protos.inference_pb2 import ModelInferRequest
from tests.rpc import INFER, ask
from tests.serve.protocols.named_rows import ACTIONS, ARM, COLUMNS, NAN, OBJECTS, ROWS
from tests.servers import Server, act_request


def tensors(arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": "FP32", "shape": [*np.shape(array)], "data": np.ravel(array).tolist()}
        for name, array in arrays.items()
    ]


def infer(named: Server, inputs: list[dict[str, Any]], policy: str = "linear") -> Any:
    return named.ask(act_request({"inputs": inputs}, path=f"/v2/models/{policy}/infer")).json


def test_inputs_of_the_open_inference_protocol_may_be_elements(named: Server) -> None:
    """The protocol's data are numbers, so each name is an input: as the columns of tables are sent."""
    for arrays in (COLUMNS, {f"observation/{name}": column[:, None] for name, column in COLUMNS.items()}):
        answer = infer(named, tensors(arrays))
        assert answer["outputs"][0]["data"] == ACTIONS
    arm = {"camera": np.ones((1, 2)), **{f"joints/arm/{name}": [1.0] for name in ARM}}
    assert infer(named, tensors(arm), "robot")["outputs"][0]["shape"] == [1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dx": [0, 1e39, 0, 0, 0, 0]}, "dx[1]: expected finite float32, got Infinity"),
        ({"dx": [0, NAN, 0, 0, 0, 0]}, "dx[1]: expected finite float32, got NaN"),
        ({"dx": [0, 1]}, "dx: expected 6 rows, as the elements before it, got 2"),
        ({"dx": np.zeros((6, 3))}, "dx: expected the shape [B], got [6, 3]"),
        ({"turn": [0]}, "turn: expected an input of the policy: observation, noise, reward"),
        ({"observation": ROWS}, "expected either observation or its elements, got both"),
        ({"observation/dx": ROWS[:, 1]}, "observation/dx: expected dx once, got it twice"),
    ],
)
def test_a_fault_of_an_element_says_its_name(named: Server, change: dict[str, Any], sentence: str) -> None:
    """And its row."""
    assert sentence in infer(named, tensors(COLUMNS | change))["error"]


def test_objects_are_no_data_of_the_open_inference_protocol(named: Server) -> None:
    """Its data have a shape and a datatype."""
    whole = {"name": "observation", "datatype": "FP32", "shape": [1, 4]}
    for data in (OBJECTS[0], OBJECTS[:1]):
        assert infer(named, [whole | {"data": data}])["error"] == (
            "observation.data: expected an array of numbers; values by name are inputs of their own, got an object"
        )
    twice = infer(named, [*tensors(COLUMNS), *tensors({"dx": [0.0]})])
    assert twice["error"] == "dx: expected each input once, got it twice"


def test_inputs_over_grpc_may_be_elements(named: Server) -> None:
    """With raw contents, as all clients send them."""
    inputs = [
        ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=column.shape)
        for name, column in COLUMNS.items()
    ]
    raw = [column.astype("<f4").tobytes() for column in COLUMNS.values()]
    request = ModelInferRequest(model_name="linear", inputs=inputs, raw_input_contents=raw)
    assert ask(named, INFER, request.SerializeToString()).action == ACTIONS
    request.raw_input_contents[1] = np.full(6, np.inf, "<f4").tobytes()
    refused = ask(named, INFER, request.SerializeToString())
    assert refused.sentence.startswith("x[0]: expected finite float32, got Infinity")


@pytest.mark.parametrize("client", [tritonclient.http, tritonclient.grpc], ids=["http", "grpc"])
def test_a_client_that_other_people_wrote_sends_elements(named: Server, client: Any) -> None:
    """Unmodified: each name is an input to it."""
    inputs = []
    for name, column in COLUMNS.items():
        inputs.append(client.InferInput(name, [len(column)], "FP32"))
        inputs[-1].set_data_from_numpy(column)
    address = f"{named.host}:{named.port}" if client is tritonclient.http else named.grpc
    with client.InferenceServerClient(address) as asking:
        assert asking.infer("linear", inputs).as_numpy("action").tolist() == ACTIONS
