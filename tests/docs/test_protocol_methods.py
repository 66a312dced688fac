"""The routes and methods in docs/protocols.md: those that are there, and those that are refused."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from rlway_client.protos import inference_pb2, tensorflow_serving_pb2
from rlway_client.protos.pool import POOL
from tests.docs.protocols_page import NO, Running, read_table
from tests.servers import ANSWER_S

OIP_METHODS = read_table("REST", "## Open Inference Protocol")[1:]
TFS_METHODS = read_table("REST", "## TensorFlow Serving")[1:]
BODIES: dict[str, Any] = {
    "/infer": {"inputs": [{"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]},
    ":predict": {"instances": [[0, 0, 0, 0]]},
}


@pytest.mark.parametrize("row", [*OIP_METHODS, *TFS_METHODS], ids=lambda row: row[0] or row[1])
def test_a_route_is_there_or_is_refused(row: list[str], running: Running) -> None:
    """✗ is `{"error": …}`."""
    if not row[0]:
        return
    method, path = row[0].strip("`").split()
    path = path.format(model="cartpole", version=1, label="canary")
    body = next((json.dumps(body) for end, body in BODIES.items() if path.endswith(end)), "")
    answer = running.post(path, body, method)
    if row[2] == NO:
        assert answer.status >= 400
        assert answer.json.keys() == {"error"}
    else:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("service", "row"),
    [("inference.GRPCInferenceService/", row) for row in OIP_METHODS]
    + [("tensorflow.serving.", row) for row in TFS_METHODS],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_a_method_is_there_or_is_refused(service: str, row: list[str], running: Running) -> None:
    """✗ is UNIMPLEMENTED."""
    if not row[1]:
        return
    name = service + row[1].strip("`")
    with grpc.insecure_channel(f"{running.server.host}:{running.grpc_port}") as channel:
        call = channel.stream_stream(f"/{name}", lambda octets: octets, lambda octets: octets)
        answers = call(iter([_request(row[1].strip("`"))]), timeout=ANSWER_S)
        if row[2] == NO:
            with pytest.raises(grpc.RpcError) as refused:
                list(answers)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        else:
            assert len(list(answers)) == 1


def _request(method: str) -> bytes:
    """A message that the method answers, about the policy."""
    if method in ("ModelInfer", "ModelStreamInfer"):
        request: Any = inference_pb2.ModelInferRequest(model_name="cartpole", raw_input_contents=[b"\0" * 16])
        request.inputs.add(name="observation", datatype="FP32", shape=[1, 4])
    elif method.startswith("Model") and "/" not in method:
        request = inference_pb2.ModelReadyRequest(name="cartpole")  # the same fields in all of them
    elif method.endswith("/Predict"):
        request = tensorflow_serving_pb2.PredictRequest()
        request.model_spec.name = "cartpole"
        tensor = request.inputs["observation"]
        tensor.dtype, tensor.tensor_content = 1, b"\0" * 16
        for size in (1, 4):
            tensor.tensor_shape.dim.add(size=size)
    elif method.endswith("/GetModelMetadata"):
        request = tensorflow_serving_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "cartpole"
    elif method.endswith("/GetModelStatus"):
        request = tensorflow_serving_pb2.GetModelStatusRequest()
        request.model_spec.name = "cartpole"
    else:
        return b""
    octets: bytes = request.SerializeToString()
    return octets


@pytest.mark.parametrize(
    "wrong",
    [
        {"datatype": "BYTES"},
        {"datatype": "BF16"},
        {"parameters": {"shared_memory_region": "frames", "shared_memory_byte_size": 16}},
    ],
    ids=["BYTES", "BF16", "shared memory"],
)
def test_what_the_page_calls_refused_is_refused(wrong: dict[str, Any], running: Running) -> None:
    """And nothing of it is ignored."""
    body = {"inputs": [BODIES["/infer"]["inputs"][0] | wrong]}
    answer = running.post("/v2/models/cartpole/infer", json.dumps(body))
    assert answer.status in (400, 422)
    assert answer.json.keys() == {"error"}


def test_a_classification_is_refused_and_a_priority_is_not(running: Running) -> None:
    """The page says so."""
    classified = [{"name": "action", "parameters": {"classification": 1}}]
    path = "/v2/models/cartpole/infer"
    assert running.post(path, json.dumps(BODIES["/infer"] | {"outputs": classified})).status == 400
    assert running.post(path, json.dumps(BODIES["/infer"] | {"parameters": {"priority": 3}})).status == 200


def test_the_tables_name_every_method_of_the_protocols() -> None:
    """Those that the server answers; what is ✗ may lack a message of ours."""
    listed = {row[1].strip("`") for row in OIP_METHODS if row[1] and row[2] != NO}
    listed |= {row[1].strip("`") for row in TFS_METHODS if row[1] and row[2] != NO}
    served = set()
    for service in (
        "inference.GRPCInferenceService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    ):
        prefix = f"{service.rpartition('.')[2]}/" if service.startswith("tensorflow") else ""
        served |= {prefix + method.name for method in POOL.FindServiceByName(service).methods}
    refused = {row[1].strip("`") for row in (*OIP_METHODS, *TFS_METHODS) if row[2] == NO}
    assert served - refused == listed
