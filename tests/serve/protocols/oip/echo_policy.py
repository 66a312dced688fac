"""A policy whose action is its observation, of any shape and dtype."""

from __future__ import annotations

from pathlib import Path

from onnx import helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import write_bundle
from tests.onnx_models import make_model


def echo_policy(models: Path, name: str, shape: tuple[int, ...], dtype: str) -> Bundle:
    """The bundle of an ONNX file."""
    kind = helper.np_dtype_to_tensor_dtype(TensorSpec("observation", shape, dtype).numpy_dtype)
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", shape, dtype)],
        action=TensorSpec("action", shape, dtype),
        noise=None,
    )
    nodes = [helper.make_node("Identity", ["observation"], ["action"])]
    tensors = [("observation", kind, ["B", *shape])], [("action", kind, ["B", *shape])]
    return write_bundle(models, manifest, make_model(nodes, *tensors, {}))
