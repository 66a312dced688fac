"""A policy in ONNX whose actions a test chooses, NaN and infinities included: its action is a row of a table.

`replaying_policy`: each tensor of the action = its table[observation].
`guarded`:          a bundle with a guard, or with other bytes in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from onnx import TensorProto, helper

from rlway_client.common.files import sha256
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.guard import FILE, Guard, encode_guard
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, encode_manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.bundles import write_bundle
from tests.onnx_models import Values, make_model


def replaying_policy(
    models: Path,
    specs: Sequence[TensorSpec],
    tables: Mapping[str, AnyArray],  # [rows, …] by the name of the action's tensor
    guard: Guard | None = None,
    name: str = "replaying",
    version: int = 1,
) -> Bundle:
    """The bundle; its observation is a whole number."""
    nodes = [helper.make_node("Gather", [f"table_{spec.name}", "observation"], [spec.name]) for spec in specs]
    inputs: Values = [("observation", TensorProto.INT64, ["B"])]
    outputs: Values = [
        (spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), ["B", *spec.shape]) for spec in specs
    ]
    model = make_model(nodes, inputs, outputs, {f"table_{spec.name}": tables[spec.name] for spec in specs})
    rows = len(tables[specs[0].name])
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=version,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (), "int64", 0, rows - 1, (), 0, rows - 1)],
        action=[*specs] if specs[0].path else specs[0],
        noise=None,
    )
    files = {} if guard is None else {FILE: encode_guard(guard)}
    return write_bundle(models, manifest, model, files)


def guarded(bundle: Bundle, guard: Guard | bytes) -> Bundle:
    """The bundle, with this guard in its manifest. Not checked."""
    (bundle.path / FILE).write_bytes(guard if isinstance(guard, bytes) else encode_guard(guard))
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, FILE: sha256(bundle.path / FILE)})
    (bundle.path / "manifest.json").write_bytes(encode_manifest(manifest))
    return Bundle(bundle.path, manifest)
