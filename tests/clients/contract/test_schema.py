"""The manifest's JSON Schema in docs/: the reader takes what the schema allows, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import decode_manifest
from rlway_client.contract.schema import encode_schema
from tests.bundles import gaussian_policy, linear_policy
from tests.conftest import ROOT

SCHEMA = ROOT / "docs/manifest.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "policy": "arm",
    "version": 3,
    "algorithm": "sac",
    "env": None,
    "observation": [
        {"name": "pose", "shape": [3], "dtype": "float32", "minimum": -1, "maximum": [1, None, 2], "path": ["pose"]},
        {"name": "gear", "shape": [], "dtype": "int64", "path": ["gear"], "lookup_minimum": 0, "lookup_maximum": 5},
    ],
    "action": {"name": "action", "shape": [2], "dtype": "float32"},
    "noise": {"name": "noise", "shape": [2], "dtype": "float32"},
    "files": {"model.onnx": "00", "variables/variables.index": "11"},
    "training": {"seed": 1},
    "notes": ["a note"],
}
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from(
        [
            0.5,
            1.0,
            3.0,
            2**70,
            "",
            "arm",
            "a/b",
            "a\n",
            "../b",
            "a//b",
            ".",
            "float32",
            "complex64",
            [],
            {},
            [1],
            [0],
            ["x"],
        ]
    )
    | st.sampled_from([{"../up": "x"}, {"a\\b": "x"}, {"a\x00": "x"}, {"a/.b/..c": "x"}, {"./a": "x"}])
)
# What no schema can say: see `check_promises`, and the bounds of a TensorSpec.
PROMISES = re.compile(
    r"numbers for \d+ elements|more than \d+ elements|(action|noise): expected the name|a name of its own|"
    r"one tensor at the path|action_values:|lookup_minimum is above lookup_maximum"
)


def test_the_schema_in_docs_is_up_to_date() -> None:
    """If not: .venv/bin/python -m rlway_client.contract.schema > docs/manifest.schema.json."""
    assert SCHEMA.read_bytes() == encode_schema()


@pytest.mark.parametrize("policy", [linear_policy, gaussian_policy])
def test_a_manifest_keeps_to_the_schema_and_a_wrong_one_does_not(policy: Any, tmp_path: Path) -> None:
    """A validator that knows nothing of RLway finds missing and mistyped fields."""
    manifest = json.loads((policy(tmp_path).path / "manifest.json").read_text())
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.check_schema(validator.schema)
    assert not list(validator.iter_errors(manifest))
    for wrong in (manifest | {"version": "one"}, manifest | {"action": {}}, {"policy": "linear"}):
        assert list(validator.iter_errors(wrong))


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a JSON value."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, part in parts for place in places(part, (*path, key)))]


@settings(max_examples=1500, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_the_reader_refuses_what_the_schema_does_and_nothing_else(data: st.DataObject) -> None:
    """A valid manifest with one field removed or replaced, unless its fields then contradict one another."""
    document = json.loads(json.dumps(MANIFEST))
    *way, last = data.draw(st.sampled_from([place for place in places(document) if place]))
    parent = document
    for key in way:
        parent = parent[key]
    if data.draw(st.booleans()):
        del parent[last]
    else:
        parent[last] = data.draw(VALUES)
    faults = list(VALIDATOR.iter_errors(document))
    refusal = ""
    try:
        decode_manifest(json.dumps(document).encode(), "here")
    except BundleInvalid as error:
        refusal = str(error)
    if faults:
        assert refusal, faults
    else:
        assert not refusal or PROMISES.search(refusal), refusal


def test_every_field_without_a_default_is_required_by_both() -> None:
    """Also `schema_version`, by which later readers know what they read."""
    for field in ("schema_version", "policy", "version", "algorithm", "env", "observation", "action", "noise"):
        document = {name: value for name, value in MANIFEST.items() if name != field}
        assert not VALIDATOR.is_valid(document)
        with pytest.raises(BundleInvalid):
            decode_manifest(json.dumps(document).encode(), "here")
