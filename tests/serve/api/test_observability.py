"""Probes, metrics, descriptions and documentation, as operators and orchestrators see them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.bundles import linear_policy
from tests.servers import Server, act_request, get_request, read_metrics, running_server


@pytest.mark.parametrize(("path", "word"), [("/healthz", "alive"), ("/readyz", "ready")])
def test_probes_say_that_all_is_well(linear: Server, path: str, word: str) -> None:
    """200 and a word as JSON."""
    answer = linear.ask(get_request(path))
    assert (answer.status, answer.json) == (200, {"status": word})


def test_requests_are_counted_by_status(tmp_path: Path, log: Path) -> None:
    """Both lanes count the same: 200, 400, 404, 415, 422, 504, and the actions and batches."""
    linear_policy(tmp_path / "models")
    good = {"observation": [1, 0, 0, 0]}
    requests = {
        200: act_request(good),
        400: act_request(b"{"),
        404: act_request(good | {"version": 9}),
        415: act_request(good, media_type="text/plain"),
        422: act_request({"observation": [1]}),
        504: act_request(good | {"deadline_ms": 0.001}),
    }
    with running_server(tmp_path / "models", log) as server:
        for status, request in requests.items():
            for sent in (request, request.replace(b"/act HTTP", b"/act?x=1 HTTP")):
                assert server.ask(sent).status == status
        server.ask(act_request({"observations": [[1, 0, 0, 0]] * 6}))
        server.ask(act_request({"observation": [0, 0, 0, float("nan")]}))
        metrics = read_metrics(server)
    counted = {status: metrics.get(("rlway_requests_total", "linear", "1", str(status))) for status in requests}
    assert metrics["rlway_actions_total", "linear", "1"] == 8
    assert metrics["rlway_batch_rows_bucket", "linear", "1", "1.0"] == 2
    assert metrics["rlway_batch_rows_bucket", "linear", "1", "8.0"] == 3
    assert metrics["rlway_batch_rows_count", "linear", "1"] == 3
    assert metrics["rlway_batch_rows_sum", "linear", "1"] == 8
    assert metrics["rlway_request_seconds_count", "linear", "1"] == 3
    assert metrics["rlway_queue_rows", "linear", "1"] == 0
    assert counted == {200: 3, 400: 2, 404: 2, 415: 2, 422: 3, 504: 2}


def test_a_body_too_large_is_counted(strict: Server, key: str) -> None:
    """A 413 counts like every other status of an act request."""
    counted = ("rlway_requests_total", "linear", "1", "413")
    before = read_metrics(strict).get(counted, 0)
    assert strict.ask(act_request(b" " * 3000, headers=[key])).status == 413
    assert read_metrics(strict).get(counted, 0) == before + 1


def test_metrics_declare_their_format(linear: Server) -> None:
    """Prometheus reads the version from the media type."""
    assert linear.ask(get_request("/metrics")).headers["content-type"].startswith("text/plain; version=0.0.4")


def test_policies_are_listed(several: Server, linear: Server) -> None:
    """Names, versions, and the default if there is one."""
    listing = httpx.get(f"{several.url}/v1/policies").json()
    assert listing["default"] is None
    assert {policy["name"]: policy["versions"] for policy in listing["policies"]} == {
        "brittle": [1],
        "gaussian": [1],
        "linear": [1],
        "slow": [1],
    }
    assert httpx.get(f"{linear.url}/v1/policies").json()["default"] == "linear"


def test_a_policy_shows_its_manifest_and_latency(linear: Server) -> None:
    """`GET /v1/policies/{policy}` has what a client needs before it asks for actions."""
    description = httpx.get(f"{linear.url}/v1/policies/linear").json()
    manifest = description["manifest"]
    assert (manifest["policy"], manifest["version"], manifest["algorithm"]) == ("linear", 1, "dqn")
    assert manifest["observation"][0]["shape"] == [4]
    assert manifest["observation"][0]["dtype"] == "float32"
    assert [output["name"] for output in manifest["outputs"]] == ["q_values"]
    assert set(manifest["files"]) == {"model.onnx"}
    assert description["versions"] == [1]
    assert all(latency_us > 0 for latency_us in description["latency_us"].values())


def test_a_policy_with_a_long_run_takes_the_thread(several: Server) -> None:
    """The measured run time decides where a policy runs, and the description shows it."""
    inline = {name: httpx.get(f"{several.url}/v1/policies/{name}").json()["inline"] for name in ("linear", "slow")}
    assert inline == {"linear": True, "slow": False}


def test_the_documentation_is_served(linear: Server) -> None:
    """`/docs` is a page."""
    answer = httpx.get(f"{linear.url}/docs")
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]


def test_the_schema_describes_the_act_route(linear: Server) -> None:
    """`/openapi.json` has the request's fields and media types, and an example that the server answers."""
    schema = httpx.get(f"{linear.url}/openapi.json").json()
    operation = schema["paths"]["/v1/policies/{policy}/act"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "application/octet-stream"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/ActRequest"}
    properties = schema["components"]["schemas"]["ActRequest"]["properties"]
    assert {"observation", "observations", "explore", "seed", "outputs", "version", "deadline_ms"} <= set(properties)
    assert linear.ask(act_request(content["application/json"]["example"])).status == 200
    assert {"/act", "/v1/policies", "/v1/policies/{policy}", "/healthz", "/readyz", "/metrics"} <= set(schema["paths"])


def test_the_schema_says_what_is_answered(linear: Server) -> None:
    """The document describes the act route's answers as well as its requests."""
    schema = httpx.get(f"{linear.url}/openapi.json").json()
    responses = schema["paths"]["/v1/policies/{policy}/act"]["post"]["responses"]
    assert responses["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ActAnswer"}
    assert {"action", "actions", "version"} <= set(schema["components"]["schemas"]["ActAnswer"]["properties"])
    assert {"400", "404", "422"} <= set(responses)


def test_the_server_does_not_name_its_software(linear: Server) -> None:
    """There is no `server` header."""
    assert "server" not in httpx.get(f"{linear.url}/healthz").headers
