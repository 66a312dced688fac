"""The policy as one ONNX file.

In:      the SavedModel's `act`.
Out:     `model.onnx`: inputs and outputs named as in the manifest, which the file's metadata holds as well.
Refuses: an operation that ONNX lacks (ExportRefused names it, and the layer).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.manifest import METADATA_KEY, Manifest, encode_manifest
from rlway_export.formats.onnx.one_hot import convert_one_hot
from rlway_export.formats.onnx.simplify import free_batch
from rlway_export.reference.policy import SavedPolicy

OPSET = 17
LARGER = (
    "ONNX: no smaller graph was found that acts alike, so the files have the arithmetic on shapes that TensorFlow had."
)


def convert_to_onnx(policy: SavedPolicy, manifest: Manifest) -> tuple[Any, list[str]]:
    """The model, with inputs and outputs named as in the manifest, and notes for the user.

    If the policy takes only one row at a time, so does the model.
    """
    converted = _convert(policy)
    if policy.rows is not None:
        return describe(converted, manifest), []
    simple = free_batch(converted, {spec.name: spec.lookup_bounds() for spec in manifest.observation})
    model, notes = (converted, [LARGER]) if simple is None else (simple, [])
    return describe(model, manifest), notes


def describe(model: Any, manifest: Manifest) -> Any:
    """The model with the manifest in its metadata."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=encode_manifest(manifest).decode())
    model.producer_name = "rlway"
    return model


def write_onnx(model: Any, destination: Path) -> None:
    """Checks and writes the model."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    destination.write_bytes(model.SerializeToString())


def _convert(policy: SavedPolicy) -> Any:
    import onnx
    import tf2onnx

    frozen = policy.frozen()
    inputs, outputs = [tensor.name for tensor in frozen.inputs], [tensor.name for tensor in frozen.outputs]
    given = [spec.name for spec in policy.interface.inputs]
    returned = sorted(spec.name for spec in policy.interface.results)  # TensorFlow's order of a dict's values
    try:
        with _without_reshape_optimizer():
            model, _ = tf2onnx.convert.from_graph_def(
                frozen.graph.as_graph_def(),
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename=dict(zip([*inputs, *outputs], [*given, *returned], strict=True)),
                opset=OPSET,
                custom_op_handlers={kind: (handle, []) for kind, handle in HANDLERS.items()},
            )
    except Exception as error:  # tf2onnx raises many unrelated kinds
        raise ExportRefused(f"ONNX: the policy's graph cannot be converted: {reason(error)}.") from error
    for node in model.graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            raise ExportRefused(f"ONNX: has no operation for {node.op_type}, which {short_name(node.name)} is made of.")
    specs = {spec.name: spec for spec in (*policy.interface.inputs, *policy.interface.results)}
    for value in [*model.graph.input, *model.graph.output]:
        shape = value.type.tensor_type.shape
        shape.Clear()  # the sizes of what a branch or a loop gives are not always known
        batch = shape.dim.add()
        if policy.rows is None:
            batch.dim_param = "batch"
        else:
            batch.dim_value = policy.rows
        for size in specs[value.name].shape:
            shape.dim.add().dim_value = size
    return model


@contextmanager
def _without_reshape_optimizer() -> Iterator[None]:
    """Leaves out an optimizer of tf2onnx that writes sizes of 0 ("as in the input") beyond the input's rank.

    It meets this where several categorical draws decide one action. `free_batch` does its work.
    """
    from tf2onnx import optimizer

    known, kept = optimizer._optimizers, dict(optimizer._optimizers)
    known.pop("reshape_optimizer", None)
    try:
        yield
    finally:
        known.clear()
        known.update(kept)


def _broadcast_args(graph: Any, node: Any, *_: Any, **__: Any) -> None:
    """The shape that two shapes broadcast to. ONNX has no operator for it, so the shape of a sum is taken."""
    import onnx
    from tf2onnx.utils import make_name

    (shape, dtype), outputs = (graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])), node.output
    zero = graph.make_const(make_name("zero"), np.array(0, np.float32)).output[0]
    shapes = [graph.make_node("Cast", [given], attr={"to": onnx.TensorProto.INT64}).output[0] for given in node.input]
    tensors = [graph.make_node("Expand", [zero, given]).output[0] for given in shapes]
    graph.remove_node(node.name)
    found = graph.make_node("Shape", graph.make_node("Add", tensors).output).output
    graph.make_node("Cast", found, attr={"to": dtype}, outputs=outputs, shapes=[shape], dtypes=[dtype])


def _select(graph: Any, node: Any, *_: Any, **__: Any) -> None:
    """A choice. By itself, tf2onnx multiplies the sides by 0 and 1 and adds them, but 0 · ∞ is NaN."""
    from tf2onnx.onnx_opset.controlflow import Select

    node.set_attr("handles_nan", True)
    Select.version_9(graph, node)
    node.attr.pop("handles_nan", None)


HANDLERS = {"BroadcastArgs": _broadcast_args, "OneHot": convert_one_hot, "Select": _select, "SelectV2": _select}
