"""The ONNX model with its network in float16, for GPUs.

In:      the float32 model.
Out:     a model with the same inputs and outputs, float32 as before.
Refuses: nothing; parity judges the effect of the rounding.

The noise and all that depends on it stays float32, which is the choice of the action: +1e30 on an entry forces an
action, and float16 ends at 65,504.
"""

from __future__ import annotations

from typing import Any


def to_half(model: Any) -> Any:
    """The model in mixed precision; the original is left as it is."""
    import onnx
    from onnxruntime.transformers import float16

    half = onnx.ModelProto()
    half.CopyFrom(model)
    for i, node in enumerate(half.graph.node):  # the converter identifies nodes by their names
        node.name = f"node_{i}"
    blocked = _follow(half.graph, {"noise"})
    half = float16.convert_float_to_float16(
        half,
        keep_io_types=True,
        op_block_list=sorted({*float16.DEFAULT_OP_BLOCK_LIST} - {"Min", "Max"}),
        node_block_list=blocked,
    )
    _unround(half.graph)
    return half


def _follow(graph: Any, values: set[str]) -> list[str]:
    """The nodes that depend on these values."""
    found = []
    for node in graph.node:  # in order: ONNX graphs are sorted
        if values.intersection(node.input):
            values.update(node.output)
            found.append(node.name)
    return found


def _unround(graph: Any) -> None:
    """Removes the casts from float32 to float16 and back that the converter leaves around blocked nodes."""
    import onnx

    makers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    for node in list(graph.node):
        if not _casts(node, onnx.TensorProto.FLOAT):
            continue
        first = makers.get(node.input[0])
        if first is None or not _casts(first, onnx.TensorProto.FLOAT16):
            continue
        source, result = first.input[0], node.output[0]
        if result in outputs:
            maker = makers.get(source)
            if maker is None:
                continue
            _rename(graph, source, result)
        else:
            _rename(graph, result, source)
        graph.node.remove(node)
    _share_casts(graph, outputs)
    read = {name for node in graph.node for name in node.input} | outputs
    for node in [node for node in graph.node if not read.intersection(node.output)]:
        graph.node.remove(node)
    del graph.value_info[:]  # types and names have changed, and can be inferred
    _sort(graph)


def _share_casts(graph: Any, outputs: set[str]) -> None:
    """One cast of a value back to float32 for all its readers."""
    import onnx

    kept: dict[str, str] = {}
    back = [node for node in graph.node if _casts(node, onnx.TensorProto.FLOAT)]
    for node in sorted(back, key=lambda node: node.output[0] not in outputs):  # an output keeps its name
        source, result = node.input[0], node.output[0]
        if source in kept and result not in outputs:
            graph.node.remove(node)
            _rename(graph, result, kept[source])
        kept.setdefault(source, result)


def _casts(node: Any, kind: int) -> bool:
    return bool(node.op_type == "Cast" and node.attribute[0].i == kind)


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _sort(graph: Any) -> None:
    """Sorts the nodes after their inputs, as ONNX requires: the converter appends its casts at the end."""
    known = {value.name for value in [*graph.input, *graph.initializer]} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = next(node for node in waiting if known.issuperset(node.input))
        known.update(ready.output)
        ordered.append(ready)
        waiting.remove(ready)
    del graph.node[:]
    graph.node.extend(ordered)
