"""Status, metadata and the list of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bundles import linear_policy
from tests.serve.protocols.tfs.asking import ROW, error, get, predict
from tests.servers import Server, running_server

OK = {"error_code": "OK", "error_message": ""}
ALL_NAMES = ["embedding", "gaussian", "greedy", "linear", "robot", "summing"]


def available(version: int) -> dict[str, Any]:
    return {"version": str(version), "state": "AVAILABLE", "status": OK}


def dims(*sizes: int) -> dict[str, Any]:
    """A shape as TensorFlow Serving prints it: its 64-bit numbers are strings."""
    return {"dim": [{"size": str(size), "name": ""} for size in (-1, *sizes)], "unknown_rank": False}


def test_the_status_names_the_versions_and_is_kserves_too(serving: Server) -> None:
    """Newest first. A version that cannot be served has ended, and says why."""
    answer = get(serving, "/v1/models/linear").json
    damaged, *others = answer.pop("model_version_status")
    assert (damaged["version"], damaged["state"], damaged["status"]["error_code"]) == ("3", "END", "DATA_LOSS")
    assert "model.onnx" in damaged["status"]["error_message"]
    assert others == [available(2), available(1)]
    assert answer == {"name": "linear", "ready": True}


@pytest.mark.parametrize(
    ("path", "version"), [("versions/1", 1), ("versions/2", 2), ("labels/canary", 2), ("labels/stable", 1)]
)
def test_the_status_of_one_version(serving: Server, path: str, version: int) -> None:
    """By its number or its label."""
    expected = {"name": "linear", "ready": True, "model_version_status": [available(version)]}
    assert get(serving, f"/v1/models/linear/{path}").json == expected


def test_version_0_asks_for_all_versions(serving: Server) -> None:
    """As ovmsclient asks."""
    assert get(serving, "/v1/models/linear/versions/0").json == get(serving, "/v1/models/linear").json


def test_a_damaged_version_is_not_ready(serving: Server) -> None:
    """Asked for by itself."""
    answer = get(serving, "/v1/models/linear/versions/3").json
    assert answer["ready"] is False
    assert [status["state"] for status in answer["model_version_status"]] == ["END"]


def test_a_model_without_a_sound_version_is_not_ready(tmp_path: Path, log: Path) -> None:
    """It has a status and no metadata, and predict says that it is unavailable."""
    linear_policy(tmp_path)
    linear_policy(tmp_path, "broken")
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"")
    with running_server(tmp_path, log, "--poll-s", "0.05") as server:
        answer = get(server, "/v1/models/broken").json
        assert answer["ready"] is False
        assert [status["state"] for status in answer["model_version_status"]] == ["END"]
        for refused in (get(server, "/v1/models/broken/metadata"), predict(server, "broken", {"instances": [ROW]})):
            assert refused.status == 503
            assert "no version is loaded" in error(refused)


def test_metadata_print_both_signatures(serving: Server) -> None:
    """In the form in which TensorFlow Serving prints them."""
    answer = get(serving, "/v1/models/summing/metadata").json
    assert answer["model_spec"] == {"name": "summing", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert [*signatures] == ["serving_default", "action"]
    for name, signature in signatures.items():
        assert signature["method_name"] == "tensorflow/serving/predict"
        for given, tensor in signature["inputs"].items():
            assert tensor.pop("name") == f"{name}_{given}:0"
    default, action = signatures.values()
    assert default["inputs"] == {
        "observation": {"dtype": "DT_FLOAT", "tensor_shape": dims(4)},
        "noise": {"dtype": "DT_FLOAT", "tensor_shape": dims(2)},
        "sum": {"dtype": "DT_FLOAT", "tensor_shape": dims(4)},
    }
    assert action["inputs"] == {
        "0/discount": {"dtype": "DT_FLOAT", "tensor_shape": dims()},
        "0/observation": {"dtype": "DT_FLOAT", "tensor_shape": dims(4)},
        "0/reward": {"dtype": "DT_FLOAT", "tensor_shape": dims()},
        "0/step_type": {"dtype": "DT_INT32", "tensor_shape": dims()},
        "1": {"dtype": "DT_FLOAT", "tensor_shape": dims(4)},
    }
    assert default["outputs"] == {
        "action": {"dtype": "DT_INT64", "tensor_shape": dims(), "name": "StatefulPartitionedCall:0"},
        "q_values": {"dtype": "DT_FLOAT", "tensor_shape": dims(2), "name": "StatefulPartitionedCall:1"},
        "next_sum": {"dtype": "DT_FLOAT", "tensor_shape": dims(4), "name": "StatefulPartitionedCall:2"},
    }
    assert [*action["outputs"]] == ["action", "q_values", "state"]


def test_every_input_in_the_metadata_can_be_given(serving: Server) -> None:
    """A client that fills each of them with zeros gets an answer, with either signature."""
    for model in ALL_NAMES:
        metadata = get(serving, f"/v1/models/{model}/metadata").json["metadata"]
        for name, signature in metadata["signature_def"]["signature_def"].items():
            inputs = {}
            for given, tensor in signature["inputs"].items():
                value: Any = 0
                for dim in reversed(tensor["tensor_shape"]["dim"][1:]):
                    value = [value] * int(dim["size"])
                inputs[given] = [value]
            asked = {"inputs": inputs, "signature_name": name, "output_filter": [*signature["outputs"]]}
            answer = predict(serving, model, asked)
            assert answer.status == 200, answer.body
            outputs = answer.json["outputs"]
            assert len(signature["outputs"]) == 1 or [*outputs] == [*signature["outputs"]]


@pytest.mark.parametrize(
    ("path", "version"), [("", "1"), ("/versions/0", "1"), ("/versions/2", "2"), ("/labels/canary", "2")]
)
def test_metadata_of_a_version(serving: Server, path: str, version: str) -> None:
    """Without one, those of the active version."""
    assert get(serving, f"/v1/models/linear{path}/metadata").json["model_spec"]["version"] == version


def test_kserve_can_list_the_models_and_ask_whether_the_server_lives(serving: Server) -> None:
    """Version 1 of its protocol."""
    assert get(serving, "/v1/models").json == {"models": ALL_NAMES}
    assert get(serving, "/").json == {"status": "alive"}


@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/v1/models/linear", "/v1/models/linear/metadata", "/v1/models/x", "/v1/models/"]
)
def test_head_is_answered_as_get(serving: Server, path: str) -> None:
    """With the same status and headers, and no body."""
    with serving.connect() as wire:
        wire.send(f"HEAD {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        head, _, body = wire.rest().partition(b"\r\n\r\n")
    whole = get(serving, path, "connection: close").head
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:")]
    assert lines == whole.split(b"\r\n")
    assert body == b""


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("linear/versions/9", 404, "Could not find version 9 of model linear"),
        ("linear/labels/x", 400, "Unrecognized servable version label: x"),
        ("x", 404, "Could not find any versions of model x"),
        ("linear/versions/9/metadata", 404, "Servable not found for request: Specific(linear, 9)"),
        ("linear/versions/3/metadata", 404, "Servable not found for request: Specific(linear, 3)"),
        ("linear/labels/x/metadata", 400, "Unrecognized servable version label: x"),
        ("x/metadata", 404, "Servable not found for request: Latest(x)"),
        (f"linear/versions/{2**63}", 400, "Failed to convert version"),
        ("linear/versions/" + "9" * 5000, 400, "Failed to convert version"),
        ("linear/versions/one", 400, "Malformed request: GET /v1/models/linear/versions/one"),
        ("linear/ready", 400, "Malformed request"),
        ("linear:predict", 400, "Malformed request"),
        ("", 400, "Malformed request"),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_words(serving: Server, path: str, status: int, words: str) -> None:
    """With the code that TensorFlow Serving gives it."""
    answer = get(serving, f"/v1/models/{path}")
    assert answer.status == status
    assert error(answer).startswith(words)
