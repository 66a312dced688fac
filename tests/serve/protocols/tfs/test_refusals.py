"""Requests that are refused, in TensorFlow Serving's form and with its codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import q_network_policy
from tests.serve.protocols.tfs.asking import ROW, error, get, predict
from tests.servers import LANES, Server, act_request, read_metrics, running_server

BAD_BODIES: list[tuple[bytes | dict[str, Any], str]] = [
    (b"", "JSON Parse error: The document is empty"),
    (b"{", "JSON Parse error"),
    (b"\xff", "JSON Parse error: not UTF-8"),
    (b"[" * 100_000, "JSON Parse error: nested too deeply"),
    (b"[]", "body: expected an object with `instances` or `inputs`, got an array of 0"),
    (b"NaN", "body: expected an object with `instances` or `inputs`, got NaN"),
    ({}, "Missing 'inputs' or 'instances' key"),
    ({"instances": [ROW], "inputs": [ROW]}, "expecting only one of 'inputs' or 'instances' keys to exist"),
    ({"instances": []}, "no values in 'instances' array"),
    ({"instances": {"observation": ROW}}, "expecting 'instances' to be a list/array, got an object"),
    ({"instances": [[1, 2, 3]]}, "observation[0]: expected float32[4], got 3 elements"),
    ({"instances": ROW}, "observation[0]: expected float32[4], got 0.5"),
    ({"inputs": ROW}, "observation[0]: expected float32[4], got 0.5"),
    ({"inputs": None}, "observation: expected float32[4], got nothing"),
    ({"inputs": 3}, "observation: expected an array of at least 1 float32[4], got 3"),
    ({"inputs": {}}, "observation: expected float32[4], got nothing"),
    ({"instances": [{}]}, "observation: expected float32[4], got nothing"),
    ({"instances": [ROW, {"observation": ROW}]}, "instances[1]: expecting value/list but got object"),
    ({"instances": [{"observation": ROW}, ROW]}, "instances[1]: expecting object but got an array of 4"),
    ({"instances": [{"observation": ROW}, {"0/observation": ROW}]}, "instances[1]: keys must be equal to: observation"),
    ({"instances": [{"colour": ROW}]}, "colour: expected an input of the policy: observation"),
    ({"inputs": {"observation": [ROW], "colour": [1]}}, "colour: expected an input of the policy"),
    ({"inputs": {"observation": [ROW], "0/observation": [ROW]}}, "0/observation: expected the input observation once"),
    ({"inputs": {"observation": [ROW], "noise": [[0, 0]] * 2}}, "noise: expected 1 rows"),
    ({"instances": [[1, 2, 3, math.nan]]}, "observation[0][3]: expected finite float32, got NaN"),
    ({"instances": [[1, 2, 3, -math.inf]]}, "observation[0][3]: expected finite float32, got -Infinity"),
    ({"inputs": [[1, 2, 3, 1e39]]}, "observation[0][3]: expected finite float32"),
    ({"inputs": [[1, 2, 3, "4"]]}, "observation[0][3]: expected float32, got a string"),
    ({"instances": [{"b64": "AAAA"}]}, "instances: expected an array of numbers, got base64 data"),
    ({"inputs": {"b64": "AAAA"}}, "inputs: expected an array of numbers, got base64 data"),
    ({"inputs": {"observation": {"b64": "AAAA"}}}, "observation: expected an array of numbers, got base64 data"),
    ({"instances": [{"observation": {"b64": "A"}}]}, "observation: expected an array of numbers, got base64 data"),
    ({"instances": [ROW], "signature_name": "x"}, 'Serving signature name: "x" not found in signature def'),
    ({"instances": [ROW], "signature_name": 3}, "'signature_name' key must be a string value, got 3"),
    ({"instances": [ROW], "colour": "red"}, "colour: expected no such field; there are signature_name, instances"),
    ({"instances": [ROW], "seed": -1}, "seed"),
    ({"instances": [ROW], "deadline_ms": 0}, "deadline_ms"),
    ({"instances": [ROW], "explore": {"sigma": 1}}, "explore.sigma"),
    ({"instances": [ROW], "output_filter": ["x"]}, "output tensor alias not found in signature: x"),
    ({"instances": [ROW], "output_filter": ["action", "action"]}, "duplicate output tensor alias: action"),
    (b'{"instances": [[0,0,0,0]], "\\ud800": 1}', "expected no such field"),
    (b'{"inputs": [[' + b"9" * 5000 + b",0,0,0]]}", "observation[0][0]: expected finite float32, got Infinity"),
]


@pytest.mark.parametrize("lane", LANES)
def test_bad_bodies_are_400_with_a_sentence(serving: Server, lane: str) -> None:
    """Both lanes say the same, and the connection is kept."""
    with serving.connect() as wire:
        for body, words in BAD_BODIES:
            wire.send(act_request(body, lane=lane, path="/v1/models/linear:predict"))
            answer = wire.answer()
            assert answer.status == 400, body
            assert words in error(answer)
        wire.send(act_request({"instances": [ROW]}, lane=lane, path="/v1/models/linear:predict"))
        assert wire.answer().json == {"predictions": [0]}


def test_values_outside_a_table_are_refused(serving: Server) -> None:
    """And whole numbers that the dtype cannot hold."""
    for body, words in (
        ({"instances": [[1, 2, 10]]}, "observation[0][2]: expected 0 to 9"),
        ({"inputs": [[1, 2, 3], [1, 2, 0.5]]}, "observation[1][2]: expected int64, got 0.5"),
        ({"inputs": [[1, 2, 2**63]]}, "observation[0][2]: expected int64"),
    ):
        answer = predict(serving, "embedding", body)
        assert answer.status == 400
        assert words in error(answer)


def test_several_inputs_have_to_be_named(serving: Server) -> None:
    """Bare values could be any of them."""
    for key in ("instances", "inputs"):
        answer = predict(serving, "robot", {key: [[1, 2]]})
        assert answer.status == 400
        assert "as multiple input tensors required: camera, joints_arm" in error(answer)
    answer = predict(serving, "robot", {"inputs": {"camera": [[1, 256]], "joints_arm": [[0, 0, 0]]}})
    assert "camera[0][1]: expected uint8, got 256" in error(answer)


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("nobody", 404, "Servable not found for request: Latest(nobody); served are: embedding"),
        ("nobody/versions/3", 404, "Servable not found for request: Specific(nobody, 3)"),
        ("linear/versions/3", 404, "Servable not found for request: Specific(linear, 3); version 3 is not served"),
        ("linear/labels/x", 400, "Unrecognized servable version label: x"),
        ("linear/versions/" + "1" * 40, 400, "Failed to convert version"),
        ("linear/versions/x", 400, "Malformed request: POST"),
    ],
)
@pytest.mark.parametrize("lane", ["hot", "query"])
def test_unknown_models_versions_and_labels(serving: Server, model: str, status: int, words: str, lane: str) -> None:
    """TensorFlow Serving's sentence, followed by what is there."""
    answer = predict(serving, model, {"instances": [ROW]}, lane)
    assert answer.status == status
    assert error(answer).startswith(words)


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_methods_for_examples_are_not_implemented(serving: Server, method: str) -> None:
    """A policy takes tensors."""
    answer = serving.ask(act_request({"examples": [{}]}, path=f"/v1/models/linear:{method}"))
    assert answer.status == 501
    assert error(answer).startswith(f"{method}: not implemented")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["", "/linear", "/linear:predict", "/a/b/c"])
def test_other_methods_are_malformed(serving: Server, method: str, path: str) -> None:
    """TensorFlow Serving tells methods and paths apart by one pattern."""
    answer = get(serving, f"/v1/models{path}", method=method)
    assert answer.status == 400
    assert error(answer).startswith(f"Malformed request: {method} /v1/models{path}")


def test_a_body_beyond_the_limits_is_400(serving: Server) -> None:
    """OUT_OF_RANGE: too many bytes of JSON, too many rows, more than the server reads at all."""
    many = {"instances": [[0, 0, 0, 0]] * 5000}
    assert "instances: expected at most 4096 rows, got 5000" in error(predict(serving, "linear", many))
    assert "at most 4096" in error(predict(serving, "linear", {"inputs": [[0, 0, 0, 0]] * 5000}))
    for size in (2**20 + 1, 2**22 + 1):
        answer = predict(serving, "linear", b'{"instances": [[0,0,0,0]]}'.ljust(size))
        assert answer.status == 400
        assert "body: expected at most" in error(answer)


def test_keys_are_asked_for_as_on_native_routes(strict: Server, key: str) -> None:
    """401 and 403 in the protocol's form; whether the server lives, anybody may ask."""
    body = {"instances": [ROW]}
    for lane in ("hot", "query"):
        missing = predict(strict, "linear", body, lane)
        assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
        assert "authorization" in error(missing)
        assert predict(strict, "linear", body, lane, "authorization: Bearer wrong").status == 403
        assert predict(strict, "linear", body, lane, key).json == {"predictions": [0]}
    for path in ("/v1/models", "/v1/models/linear", "/v1/models/linear/metadata", "/v1/models/nobody"):
        assert get(strict, path).status == 401
        assert "linear" not in error(get(strict, path))
    assert get(strict, "/v1/models/linear", key).status == 200
    assert get(strict, "/").status == 200


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy whose runs take long, before which one observation may wait."""
    models: Path = tmp_path_factory.mktemp("slow") / "models"
    q_network_policy(models, "slow", (2048, 2048, 2048))
    with running_server(models, models.with_name("log"), "--queue-capacity", "1", "--max-rows", "64") as server:
        yield server


def test_a_full_queue_and_a_missed_deadline_have_their_codes(slow: Server) -> None:
    """429 with `retry-after`, and 504 before the policy runs."""
    request = act_request({"instances": [ROW]}, path="/v1/models/slow:predict")
    with slow.connect() as wire:
        wire.send(request * 20)
        answers = [wire.answer() for _ in range(20)]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {429}
    assert refused[0].headers["retry-after"] == "1"
    assert "slow" in error(refused[0])
    for more in ({}, {"seed": 1}):
        late = predict(slow, "slow", {"instances": [ROW], "deadline_ms": 1e-6} | more)
        assert (late.status, error(late)) == (504, "deadline: cannot be met; the request has not run.")


def test_refusals_are_counted(serving: Server) -> None:
    """Under the native status, with those of the native routes."""
    before = read_metrics(serving)
    predict(serving, "linear", {"instances": [[1]]})
    name = ("rlway_requests_total", "linear", "1", "422")
    assert read_metrics(serving)[name] == before.get(name, 0) + 1


def test_a_server_can_be_without_the_protocol(tmp_path: Path, log: Path) -> None:
    """`--protocols` leaves it out: its routes are not found, and the native ones are there."""
    q_network_policy(tmp_path, "q")
    with running_server(tmp_path, log, "--protocols", "oip") as server:
        assert predict(server, "q", {"instances": [ROW]}).status == 404
        assert get(server, "/v1/models").status == 404
        assert get(server, "/v1/policies").status == 200


def test_an_encoded_body_is_refused(serving: Server) -> None:
    """In the protocol's form, though FastAPI reads it."""
    answer = predict(serving, "linear", b"\x1f\x8b", "hot", "content-encoding: gzip")
    assert answer.status == 400
    assert error(answer).startswith("content-encoding: expected none, got gzip")


def test_the_log_shows_no_fault_of_the_server(serving: Server) -> None:
    """After all that these tests have sent."""
    assert "Traceback" not in serving.log.read_text()
