"""Observations whose values have names, as the manifest's meaning says them: over HTTP, and as the edge reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import EdgePolicy, PolicyClient
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import Fault
from tests.bundles import BIAS, WEIGHTS, embedding_policy, linear_policy, robot_policy
from tests.naming import name_elements
from tests.servers import ACT, Server, act_request, get_request, running_server

NAMES = ["x", "dx", "angle", "spin"]
ARM = ["hip", "knee", "toe"]
MISSING: Any = object()
ROWS = np.random.default_rng(5).normal(size=(20, 4)).round(3)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> EdgePolicy:
    """The policy of the server in this process."""
    bundle = linear_policy(tmp_path_factory.mktemp("edge"))
    name_elements(bundle, "observation", NAMES)
    return EdgePolicy(bundle.path, "model.onnx")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy over one tensor and one over a dict, whose elements have names."""
    models = tmp_path_factory.mktemp("named") / "models"
    for bundle, tensor, names in (
        (linear_policy(models), "observation", NAMES),
        (robot_policy(models), "joints_arm", ARM),
        (embedding_policy(models), "observation", ["a", "b", "c"]),
    ):
        name_elements(bundle, tensor, names)
    with running_server(models, models.with_name("log")) as server:
        yield server


def by_name(row: Any) -> dict[str, float]:
    """The row's values, the last one first."""
    return dict(reversed([*zip(NAMES, map(float, row), strict=True)]))


def test_values_may_come_by_name_in_any_order(named: Server) -> None:
    """One observation or several, some of them as lists."""
    expected = (ROWS.astype(np.float32) @ WEIGHTS + BIAS).argmax(axis=1).tolist()
    one = [named.ask(act_request({"observation": by_name(row)})).json["action"] for row in ROWS]
    assert one == expected
    rows = [by_name(row) if i % 2 else row.tolist() for i, row in enumerate(ROWS)]
    assert named.ask(act_request({"observations": rows})).json["actions"] == expected


def test_names_lie_within_an_object_of_tensors(named: Server) -> None:
    """Only the tensor that has names takes them."""
    path = ACT.replace("linear", "robot")
    arm = dict(zip(ARM, (0.5, -1.0, 2.0), strict=True))
    listed, told = (
        named.ask(
            act_request({"observation": {"camera": [1, 2], "joints": {"arm": arm}}, "outputs": ["q_values"]}, path=path)
        )
        for arm in ([0.5, -1.0, 2.0], arm)
    )
    assert told.body == listed.body
    refused = named.ask(
        act_request({"observation": {"camera": {"left": 1, "right": 2}, "joints": {"arm": arm}}}, path=path)
    )
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, 'observation["camera"]')


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "missing": ({"spin": MISSING}, ['["spin"]: expected float32, got nothing']),
    "unknown": ({"turn": 1.0}, ['["turn"]: expected one of x, dx, angle, spin, got an unknown name']),
    "misspelt": (
        {"angle": MISSING, "angel": 1.0},
        [
            '["angel"]: expected one of x, dx, angle, spin, got a name close to angle',
            '["angle"]: expected float32, got nothing',
        ],
    ),
    "of another type": ({"x": "left"}, ['["x"]: expected float32, got a string']),
    "null": ({"x": None}, ['["x"]: expected float32, got null']),
    "an array": ({"x": [1.0]}, ['["x"]: expected float32, got an array of 1']),
    "not finite": ({"dx": float("nan")}, ['["dx"]: expected finite float32, got NaN']),
    "too large": ({"spin": 1e39}, ['["spin"]: expected finite float32, got 1e+39']),
    "several": (
        {"x": float("-inf"), "angle": "up"},
        ['["x"]: expected finite float32, got -Infinity', '["angle"]: expected float32, got a string'],
    ),
}


@pytest.mark.parametrize("lane", ["hot", "query"])
@pytest.mark.parametrize(("change", "sentences"), FAULTS.values(), ids=FAULTS)
def test_a_fault_says_the_name_on_server_and_edge(
    named: Server, edge: EdgePolicy, change: dict[str, Any], sentences: list[str], lane: str
) -> None:
    """Whether one observation is sent or several: never the place that the value would have in a list."""
    row = {name: value for name, value in (by_name(ROWS[0]) | change).items() if value is not MISSING}
    for body, where in (
        ({"observation": row}, "observation"),
        ({"observations": [by_name(ROWS[0]), row]}, "observations[1]"),
    ):
        refused = named.ask(act_request(json.dumps(body).encode(), lane=lane))
        assert refused.status == 422
        assert [Fault(**fault).sentence for fault in refused.json["errors"]] == [where + one for one in sentences]
        assert refused.detail.startswith(where + sentences[0])
    with pytest.raises(SpecViolated) as locally:
        edge.act(row)
    assert [fault.sentence for fault in locally.value.faults] == [f"observation{one}" for one in sentences]
    assert edge.act(by_name(ROWS[0])) == edge.act(ROWS[0])


def test_a_value_outside_its_table_is_refused_by_its_name(named: Server) -> None:
    """The names hold for every kind of fault."""
    path = ACT.replace("linear", "embedding")
    for observation in ({"b": 3, "c": 9, "a": 0}, [0, 3, 9]):
        assert named.ask(act_request({"observation": observation}, path=path)).status == 200
    refused = named.ask(act_request({"observation": {"a": 0, "b": 12, "c": 2.5}}, path=path))
    assert [fault["path"] for fault in refused.json["errors"]] == ['observation["c"]']
    refused = named.ask(act_request({"observation": {"a": 0, "b": 12, "c": 2}}, path=path))
    assert refused.detail.startswith('observation["b"]: expected 0 to 9, as the policy looks it up in a table, got 12')


def test_a_name_that_comes_twice_is_refused(named: Server) -> None:
    """A parser that keeps the last value would hide the mistake."""
    doubled = b'{"observation": {"x": 1, "dx": 2, "angle": 3, "spin": 4, "dx": 5}}'
    refused = named.ask(act_request(doubled))
    assert (refused.status, refused.json["errors"]) == (
        422,
        [{"path": 'observation["dx"]', "expected": "each name once", "got": "it twice"}],
    )


def test_the_client_takes_values_by_name(named: Server) -> None:
    """One observation, rows, and columns as vectorised environments have them."""
    expected = (ROWS.astype(np.float32) @ WEIGHTS + BIAS).argmax(axis=1).tolist()
    columns = dict(zip(reversed(NAMES), ROWS.T[::-1], strict=True))
    with PolicyClient(named.url, "linear") as policy:
        assert [policy.act(by_name(row)) for row in ROWS] == expected
        assert policy.act_batch([by_name(row) for row in ROWS]).tolist() == expected
        assert policy.act_batch(columns).tolist() == expected
        with pytest.raises(SpecViolated, match='observation\\["dx"\\]: expected a finite number, got NaN'):
            policy.act(by_name(ROWS[0]) | {"dx": float("nan")})
        with pytest.raises(SpecViolated, match='observation\\["turn"\\]: expected one of x, dx, angle, spin'):
            policy.act(by_name(ROWS[0]) | {"turn": 1.0})


def test_the_document_has_an_example_by_name(named: Server) -> None:
    """Beside the one in order, and the server answers both alike; the schema says it in words."""
    schema = json.loads(named.ask(get_request("/openapi.json")).body)
    for path in ("/v1/policies/{policy}/act", "/act"):
        content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert "example" not in content  # which excludes `examples`
        plain, by_name = (content["examples"][name]["value"] for name in ("in_order", "by_name"))
        assert by_name == {"observation": dict.fromkeys(["a", "b", "c"], 0)}
        answers = [
            named.ask(act_request(body, path=ACT.replace("linear", "embedding"))).json for body in (plain, by_name)
        ]
        assert answers[0] == answers[1]
        assert "action" in answers[0]
    properties = schema["components"]["schemas"]["ActRequest"]["properties"]
    for said in (properties["observation"], properties["observations"]["items"]):
        assert "an object of these names, in any order, may stand for its array" in said["description"]


def test_a_policy_without_names_takes_none(tmp_path: Path) -> None:
    """The sentence says what it takes."""
    policy = EdgePolicy(linear_policy(tmp_path).path, "model.onnx")
    with pytest.raises(SpecViolated, match="observation: expected float32\\[4\\], got an object"):
        policy.act(by_name(ROWS[0]))
