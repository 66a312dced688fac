"""What the server and its models say of themselves, through Triton's own client and plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.bundles import linear_policy, summing_policy
from tests.serve.protocols.oip.infer_requests import ROW, in_json, tensor
from tests.servers import Server, act_request, get_request, running_server, wait_until

KEY = "correct-horse"
PAGES = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/stats",
    "/v2/models/linear",
    "/v2/models/linear/ready",
    "/v2/models/linear/config",
    "/v2/models/linear/stats",
    "/v2/models/linear/versions/1",
    "/v2/models/linear/versions/1/ready",
    "/v2/models/linear/versions/1/config",
    "/v2/models/linear/versions/1/stats",
)
OPEN = PAGES[:3]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Wants a key."""
    models = tmp_path_factory.mktemp("guarded") / "models"
    linear_policy(models)
    keys = models.with_name("keys")
    keys.write_text(KEY)
    with running_server(models, models.with_name("log"), "--api-keys", str(keys)) as server:
        yield server


def test_health_is_read_by_status_and_by_body(policies: Server, client: triton.InferenceServerClient) -> None:
    """Triton's client looks at the status, KServe's at the body."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    assert client.is_model_ready("linear", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("linear", "9")
    for path, body in (("live", {"live": True}), ("ready", {"ready": True})):
        assert httpx.get(f"{policies.url}/v2/health/{path}").json() == body
    ready = httpx.get(f"{policies.url}/v2/models/linear/ready").json()
    assert ready == {"name": "linear", "ready": True}


def test_what_is_not_ready_says_so(tmp_path: Path, log: Path) -> None:
    """503 with `error` and `ready`: a policy without a sound version, and a server without a ready policy."""
    linear_policy(tmp_path)
    with running_server(tmp_path, log, "--poll-s", "0.05") as server:
        (tmp_path / "broken" / "1").mkdir(parents=True)
        (tmp_path / "broken" / "1" / "manifest.json").write_text("{}")
        url = f"{server.url}/v2/models/broken/ready"
        wait_until(lambda: httpx.get(url).status_code == 503, "the policy is found")
        assert httpx.get(url).json()["ready"] is False
        assert "no version is loaded" in httpx.get(url).json()["error"]
        assert httpx.get(f"{server.url}/v2/models/broken").status_code == 503
        index = httpx.post(f"{server.url}/v2/repository/index").json()
        broken = next(entry for entry in index if entry["name"] == "broken")
        assert (broken["version"], broken["state"]) == ("1", "UNAVAILABLE")
        assert broken["reason"]
        ready = httpx.post(f"{server.url}/v2/repository/index", json={"ready": True}).json()
        assert ready == [{"name": "linear", "version": "1", "state": "READY", "reason": ""}]


def test_the_server_lists_only_extensions_that_it_has(client: triton.InferenceServerClient) -> None:
    """The repository is not among them: nobody but the folder loads and unloads."""
    metadata = client.get_server_metadata()
    assert metadata["name"] == "rlway"
    assert {"binary_tensor_data", "sequence", "statistics"} <= set(metadata["extensions"])
    assert "model_repository" not in metadata["extensions"]
    for call in (client.load_model, client.unload_model):
        with pytest.raises(triton.InferenceServerException, match="follows its models folder"):
            call("linear")


def test_metadata_and_configuration_list_inputs_and_outputs(client: triton.InferenceServerClient) -> None:
    """Metadata with the batch as -1, the configuration without it; what may be left out is marked there."""
    assert client.get_model_metadata("robot") == {
        "name": "robot",
        "versions": ["1"],
        "platform": "onnxruntime-cpu",
        "inputs": [
            {"name": "camera", "datatype": "UINT8", "shape": [-1, 2]},
            {"name": "joints_arm", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "noise", "datatype": "FP32", "shape": [-1, 2]},
        ],
        "outputs": [
            {"name": "action", "datatype": "INT64", "shape": [-1]},
            {"name": "q_values", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    assert client.get_model_metadata("linear", "1")["versions"] == ["1", "2"]
    config = client.get_model_config("rewarded")
    assert config["max_batch_size"] == 1000
    assert config["input"][0] == {"name": "observation", "data_type": "TYPE_FP32", "dims": [4], "optional": False}
    assert {entry["name"] for entry in config["input"] if entry["optional"]} == {"reward", "discount", "step_type"}
    assert "dynamic_batching" in config
    stateful = client.get_model_config("summing")
    assert stateful["sequence_batching"] == {"max_sequence_idle_microseconds": 600_000_000}
    assert "dynamic_batching" not in stateful


def test_statistics_count_requests_rows_and_runs(tmp_path: Path, log: Path) -> None:
    """What was asked is what they say; a refusal counts as a failure."""
    linear_policy(tmp_path)
    with (
        running_server(tmp_path, log) as server,
        triton.InferenceServerClient(f"{server.host}:{server.port}") as client,
    ):
        [empty] = client.get_inference_statistics("linear")["model_stats"]
        assert (empty["last_inference"], empty["inference_count"], empty["batch_stats"]) == (0, 0, [])
        for rows in (1, 3, 3):
            sent = triton.InferInput("observation", [rows, 4], "FP32")
            sent.set_data_from_numpy(np.zeros((rows, 4), np.float32))
            client.infer("linear", [sent])
        server.ask(in_json(tensor(data=[1.0])).request())
        [found] = client.get_inference_statistics("linear", "1")["model_stats"]
        assert client.get_inference_statistics()["model_stats"] == [found]
        assert (found["inference_count"], found["execution_count"]) == (7, 3)
        counts = {name: part["count"] for name, part in found["inference_stats"].items()}
        assert counts == {"fail": 1} | dict.fromkeys(
            ("success", "queue", "compute_input", "compute_infer", "compute_output"), 3
        )
        assert [(part["batch_size"], part["compute_infer"]["count"]) for part in found["batch_stats"]] == [
            (1, 1),
            (3, 2),
        ]
        times = found["inference_stats"]
        assert times["success"]["ns"] >= times["compute_infer"]["ns"] > 0
        assert abs(found["last_inference"] / 1000 - log.stat().st_mtime) < 3600


def test_a_key_is_needed_for_all_that_shows_policies(guarded: Server) -> None:
    """Health and the server's own name are open; a wrong key finds out no policy's name."""
    for path in PAGES:
        bare = guarded.ask(get_request(path))
        assert (bare.status, path in OPEN) in ((200, True), (401, False))
        assert guarded.ask(get_request(path, f"authorization: Bearer {KEY}")).status == 200
    for path in ("/v2/models/nobody", "/v2/models/nobody/ready"):
        assert guarded.ask(get_request(path)).status == 401
    for path in ("/v2/repository/index", "/v2/repository/models/linear/load", "/v2/models/nobody/infer"):
        assert guarded.ask(act_request(b"", path=path)).status == 401
    for lane in ("hot", "query"):
        infer = in_json(tensor()).request(lane=lane)
        answer = guarded.ask(infer)
        assert (answer.status, [*answer.json], answer.headers["www-authenticate"]) == (401, ["error"], "Bearer")
        wrong = act_request(in_json(tensor()).body, path="/v2/models/linear/infer", headers=["authorization: Bearer x"])
        assert guarded.ask(wrong).status == 403
    with triton.InferenceServerClient(f"{guarded.host}:{guarded.port}") as client:
        sent = triton.InferInput("observation", [1, 4], "FP32")
        sent.set_data_from_numpy(np.array([ROW], np.float32))
        assert client.infer("linear", [sent], headers={"Authorization": f"Bearer {KEY}"}).as_numpy("action") == [0]


def test_head_is_answered_as_get(policies: Server) -> None:
    """With the same status and headers, and no body."""
    for path in (*PAGES, "/v2/models/nobody", "/v2/nowhere"):
        get, head = httpx.get(policies.url + path), httpx.head(policies.url + path)
        assert (get.status_code, head.content) == (head.status_code, b"")
        if not path.endswith("stats"):  # counters go on
            assert get.headers["content-length"] == head.headers["content-length"]


def test_unknown_paths_and_methods_are_told_in_the_protocols_form(policies: Server) -> None:
    """405 names the allowed methods; everything else below `/v2` is a 404."""
    for path, allowed in (("/v2", "GET, HEAD"), ("/v2/models/linear/infer", "POST"), ("/v2/repository/index", "POST")):
        answer = httpx.request("DELETE", policies.url + path)
        assert (answer.status_code, answer.headers["allow"], [*answer.json()]) == (405, allowed, ["error"])
    for method, path in (("GET", "/v2/"), ("POST", "/v2/models"), ("PATCH", "/v2/trace/setting"), ("TRACE", "/v2/x")):
        answer = httpx.request(method, policies.url + path)
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])
    for path in ("/v2/models/linear/versions/0", "/v2/models/linear/versions/x", "/v2/models/linear/versions/-1"):
        assert httpx.get(policies.url + path).status_code == 404


def test_the_index_takes_nothing_or_a_filter(policies: Server) -> None:
    """Any other body is refused."""
    everything = httpx.post(f"{policies.url}/v2/repository/index").json()
    assert [(entry["name"], entry["version"]) for entry in everything if entry["name"] == "linear"] == [
        ("linear", "1"),
        ("linear", "2"),
    ]
    assert httpx.post(f"{policies.url}/v2/repository/index", json={"ready": False}).json() == everything
    for body in (b"[]", b"{", b'{"ready": 1}', b'{"colour": 1}', b"\xff"):
        answer = httpx.post(f"{policies.url}/v2/repository/index", content=body)
        assert (answer.status_code, [*answer.json()]) == (400, ["error"])
    assert httpx.post(f"{policies.url}/v2/repository/index", content=b" " * 5000).status_code == 413


def test_other_processes_of_a_narrowed_server_do_not_speak_it(tmp_path: Path, log: Path) -> None:
    """`--protocols` leaves it out, and its paths are unknown then."""
    summing_policy(tmp_path)
    with running_server(tmp_path, log, "--protocols", "tfs") as server:
        assert httpx.get(f"{server.url}/v2").status_code == 404
        assert httpx.post(f"{server.url}/v2/models/summing/infer").status_code == 404
