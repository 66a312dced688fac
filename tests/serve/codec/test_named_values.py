"""Observations whose values have names, as the manifest's meaning says them: over HTTP, and as the edge reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from rlway_client import EdgePolicy
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.manifest import encode_manifest
from rlway_client.contract.meaning import Meaning, TensorMeaning
from tests.bundles import BIAS, WEIGHTS, linear_policy, robot_policy
from tests.servers import ACT, Server, act_request, running_server

NAMES = ["x", "dx", "angle", "spin"]
ARM = ["hip", "knee", "toe"]
ROWS = np.random.default_rng(5).normal(size=(20, 4)).round(3)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy over one tensor and one over a dict, whose elements have names."""
    models = tmp_path_factory.mktemp("named") / "models"
    for bundle, tensor, names in (
        (linear_policy(models), "observation", NAMES),
        (robot_policy(models), "joints_arm", ARM),
    ):
        meaning = Meaning(tensors={tensor: TensorMeaning(names=names)})
        (bundle.path / "manifest.json").write_bytes(encode_manifest(replace(bundle.manifest, meaning=meaning)))
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


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        ({"spin": None}, 'observations[1]["spin"]', "float32"),
        ({"turn": 1.0}, 'observations[1]["turn"]', "one of x, dx, angle, spin"),
        ({"x": "left"}, "observations[1][0]", "float32"),
    ],
)
def test_a_name_that_is_missing_or_unknown_is_refused_by_its_path(
    named: Server, change: dict[str, Any], path: str, expected: str
) -> None:
    """And a value that does not fit by its place."""
    row = {name: value for name, value in (by_name(ROWS[0]) | change).items() if value is not None}
    refused = named.ask(act_request({"observations": [by_name(ROWS[0]), row]}))
    assert refused.status == 422
    assert (refused.json["errors"][0]["path"], refused.json["errors"][0]["expected"]) == (path, expected)


def test_the_edge_takes_the_same_names(tmp_path: Path) -> None:
    """And lists as before."""
    bundle = linear_policy(tmp_path)
    meaning = Meaning(tensors={"observation": TensorMeaning(names=NAMES)})
    (bundle.path / "manifest.json").write_bytes(encode_manifest(replace(bundle.manifest, meaning=meaning)))
    policy = EdgePolicy(bundle.path, "model.onnx")
    assert [policy.act(by_name(row)) for row in ROWS] == [policy.act(row) for row in ROWS]
    with pytest.raises(SpecViolated, match='observation\\["turn"\\]: expected one of x, dx, angle, spin'):
        policy.act(by_name(ROWS[0]) | {"turn": 1.0})
