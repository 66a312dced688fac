"""The manifest's JSON Schema in docs/: it is that of the Struct, and manifests keep to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rlway_client.schema import encode_schema
from tests.bundles import gaussian_policy, linear_policy
from tests.conftest import ROOT

SCHEMA = ROOT / "docs/manifest.schema.json"


def test_the_schema_in_docs_is_up_to_date() -> None:
    """If not: .venv/bin/python -m rlway_client.schema > docs/manifest.schema.json."""
    assert SCHEMA.read_bytes() == encode_schema()


@pytest.mark.parametrize("policy", [linear_policy, gaussian_policy])
def test_a_manifest_keeps_to_the_schema_and_a_wrong_one_does_not(policy: Any, tmp_path: Path) -> None:
    """Judged by a validator that knows nothing of RLway; what is missing or mistyped is found."""
    manifest = json.loads((policy(tmp_path).path / "manifest.json").read_text())
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.check_schema(validator.schema)
    assert not list(validator.iter_errors(manifest))
    for wrong in (manifest | {"version": "one"}, manifest | {"action": {}}, {"policy": "linear"}):
        assert list(validator.iter_errors(wrong))
