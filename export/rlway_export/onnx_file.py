"""The policy as one ONNX file.

In:      the SavedModel's `act`.
Out:     `model.onnx`: inputs and outputs named as in the manifest, which is in the file's metadata, too.
Refuses: an operation that ONNX lacks (ExportRefused names it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlway_client.errors import ExportRefused
from rlway_client.manifest import METADATA_KEY, Manifest, encode_manifest
from rlway_export.source import SavedPolicy

OPSET = 17


def convert_to_onnx(policy: SavedPolicy, manifest: Manifest) -> Any:
    """The model, with inputs and outputs named as the manifest does."""
    model = _convert(policy)
    _name_tensors(model, sorted(spec.name for spec in [manifest.action, *manifest.outputs]))
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=encode_manifest(manifest).decode())
    model.producer_name = "rlway"
    return model


def write_onnx(model: Any, destination: Path) -> None:
    """Checks the model, and writes it."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    destination.write_bytes(model.SerializeToString())


def _convert(policy: SavedPolicy) -> Any:
    import tf2onnx

    act, signature = policy.module(batch=None).act, policy.signature(batch=None)
    try:
        model, _ = tf2onnx.convert.from_function(act, input_signature=signature, opset=OPSET)
    except Exception as error:  # tf2onnx raises plain ValueErrors and worse
        raise ExportRefused(f"ONNX: the policy's graph cannot be converted: {str(error).splitlines()[0]}.") from error
    return model


def _name_tensors(model: Any, names: list[str]) -> None:
    """Names outputs and batch dimension; TensorFlow returns a dict's values sorted by key, under its own names."""
    graph = model.graph
    if len(graph.output) != len(names):
        raise ExportRefused(f"ONNX: expected the outputs {names}, got {[o.name for o in graph.output]}.")
    new = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = new[output.name]
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
