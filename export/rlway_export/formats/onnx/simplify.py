"""A converted graph without its arithmetic on shapes.

In:      an ONNX model over any batch, as tf2onnx leaves it: half of a small policy's nodes compute the batch's size.
Out:     the same model without them, still over any batch; None where that fails.

The batch is set to a number that occurs nowhere else, and onnxruntime's optimizer then computes everything that is
constant. Where the number appears in a constant, the constant is changed to fit any batch: `Reshape` to (−1, …), one
row in place of equal rows. Finally both graphs must give the same in other batches, up to the order of sums.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray

BATCH = 1013  # a prime, so that its multiples can be recognised, too
PROBED = (1, 3, 256)  # batches; many rows, because a graph may have no output but its action
RESHAPING = ("Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
LookupBounds = dict[str, tuple[AnyArray, AnyArray]]  # by an input's name, the bounds of what can be looked up
ROW_BY_ROW = ("Add", "And", "Div", "Equal", "Expand", "Greater", "Less", "Max", "Min", "Mul", "Or", "Sub", "Where")


def free_batch(model: Any, tables: LookupBounds) -> Any | None:
    """The simpler model, if one is found."""
    try:
        simple = _optimized(_with_batch(model, BATCH))
        _join_reshapes(simple)
        if not all(_fits_any_batch(simple, name, value) for name, value in _constants_of_batch(simple)):
            return None
        simple = _optimized(_with_batch(simple, None, like=model))
        prune(simple)
        return simple if _answer_alike(model, simple, tables) else None
    except Exception:  # onnxruntime raises many unrelated kinds for a graph that it does not take
        return None


def folded(model: Any) -> Any | None:
    """A model over a fixed batch without what is constant, if onnxruntime takes it."""
    try:
        simple = _optimized(model)
        prune(simple)
    except Exception:  # onnxruntime raises many unrelated kinds for a graph that it does not take
        return None
    return simple


def _with_batch(model: Any, batch: int | None, like: Any = None) -> Any:
    """A copy whose inputs have `batch` rows (None: any number); the outputs' shapes are those of `like`."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        if batch is None:
            first.dim_param = "batch"
        else:
            first.dim_value = batch
    for i, value in enumerate(copy.graph.output):
        value.type.tensor_type.ClearField("shape")
        if like is not None:
            value.type.CopyFrom(like.graph.output[i].type)
    del copy.graph.value_info[:]
    return copy


def _optimized(model: Any) -> Any:
    """The model as onnxruntime optimizes it with ONNX's own operators only."""
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="rlway-onnx-") as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(path)
    used = {node.domain for node in optimized.graph.node}
    for opset in [opset for opset in optimized.opset_import if opset.domain not in used]:
        optimized.opset_import.remove(opset)
    return optimized


def _join_reshapes(model: Any) -> None:
    """One Reshape in place of consecutive ones, and none where they end in the first shape."""
    import onnx

    graph, shapes = model.graph, _shapes(model)
    outputs = {output.name for output in graph.output}
    makers = {node.output[0]: node for node in graph.node if _only_reshapes(node, shapes)}
    for node in list(graph.node):
        result = node.output[0]
        if result not in makers:
            continue
        begin = node.input[0]
        while begin in makers:
            begin = makers[begin].input[0]
        if shapes[begin] == shapes[result]:
            graph.node.remove(node)
            _pass_over(graph, begin, result, outputs)
        else:
            shape = onnx.numpy_helper.from_array(np.array(shapes[result], np.int64), f"{result}_shape")
            graph.initializer.append(shape)
            reshape = onnx.helper.make_node("Reshape", [begin, shape.name], [result], name=node.name)
            graph.node[list(graph.node).index(node)].CopyFrom(reshape)
    prune(model)


def _pass_over(graph: Any, begin: str, result: str, outputs: set[str]) -> None:
    """Lets the readers of the result read `begin`, which is equal to it."""
    import onnx

    for reader in graph.node:
        reader.input[:] = [begin if name == result else name for name in reader.input]
    if result in outputs:
        graph.node.append(onnx.helper.make_node("Identity", [begin], [result], name=f"{result}_identity"))


def _only_reshapes(node: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    before, after = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
    if node.op_type not in RESHAPING or before is None or after is None:
        return False
    return bool(np.prod(before) == np.prod(after))  # an Expand may repeat


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The known shapes, by name."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") for dim in dims):
                known[value.name] = tuple(dim.dim_value for dim in dims)
    return known


def _constants_of_batch(model: Any) -> Iterator[tuple[str, AnyArray]]:
    """Constants that contain the batch's size."""
    import onnx

    for tensor in list(model.graph.initializer):
        value = onnx.numpy_helper.to_array(tensor)
        if BATCH in value.shape or _of_batch(value).any():
            yield tensor.name, value


def _of_batch(value: AnyArray) -> AnyArray:
    """Which elements are multiples of the batch's size."""
    counts: AnyArray = (value != 0) & (value % BATCH == 0) if value.dtype.kind == "i" else np.zeros(1, np.bool_)
    return counts


def _fits_any_batch(model: Any, name: str, value: AnyArray) -> bool:
    """Replaces a constant by one that does not depend on the batch; False if there is none."""
    import onnx

    readers = [(node, list(node.input).index(name)) for node in model.graph.node if name in node.input]
    if all(node.op_type == "Reshape" and place == 1 for node, place in readers):
        of_batch = _of_batch(value)
        if of_batch.sum() != 1 or (value == -1).any():
            return False
        value = np.where(of_batch, -1, value)
    elif value.shape[:1] == (BATCH,) and _equal_rows(value) and _broadcast(readers):
        value = value[:1]
        if any(output.name == name for output in model.graph.output):
            name = _repeat_for_all_rows(model, name, value.shape)
    else:
        return False
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    return True


def _equal_rows(value: AnyArray) -> bool:
    """Whether all rows are equal, up to the rounding of vectorised functions, which depends on a value's place."""
    rows = np.broadcast_to(value[:1], value.shape)
    return bool(np.allclose(value, rows, rtol=1e-6, atol=0) if value.dtype.kind == "f" else (value == rows).all())


def _repeat_for_all_rows(model: Any, name: str, shape: tuple[int, ...]) -> str:
    """Makes an output that is constant of one row of it, whose new name is returned."""
    import onnx

    graph, row = model.graph, f"{name}_row"
    for node in graph.node:
        node.input[:] = [row if read == name else read for read in node.input]
    next(tensor for tensor in graph.initializer if tensor.name == name).name = row
    rest = onnx.numpy_helper.from_array(np.array(shape[1:], np.int64), f"{name}_rest")
    graph.initializer.append(rest)
    make = onnx.helper.make_node
    graph.node.append(make("Shape", [graph.input[0].name], [f"{name}_batch"], name=f"{name}_batch", start=0, end=1))
    sizes = [f"{name}_batch", rest.name]
    graph.node.append(make("Concat", sizes, [f"{name}_shape"], name=f"{name}_shape", axis=0))
    graph.node.append(make("Expand", [row, f"{name}_shape"], [name], name=f"{name}_expand"))
    return row


def _broadcast(readers: list[tuple[Any, int]]) -> bool:
    return all(node.op_type in ROW_BY_ROW for node, _ in readers)


def prune(model: Any) -> None:
    """Removes nodes and constants that nothing reads, and the inferred shapes."""
    graph = model.graph
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if read.intersection(node.output):
            read.update(_read_by(node))
        else:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    del graph.value_info[:]


def _read_by(node: Any) -> Iterator[str]:
    """The names that a node reads, within its branches and loops as well."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)
        yield from (output.name for output in attribute.g.output)


def _answer_alike(model: Any, simple: Any, tables: LookupBounds) -> bool:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    both = [
        ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for m in (model, simple)
    ]
    generator = np.random.default_rng(0)
    for batch in PROBED:
        feed = _feed(model, batch, generator, tables)
        for known, found in zip(*(session.run(None, feed) for session in both), strict=True):
            if known.shape != found.shape or not np.allclose(known, found, 1e-4, 1e-5, equal_nan=True):
                return False
    return True


def _feed(model: Any, batch: int, generator: np.random.Generator, tables: LookupBounds) -> Arrays:
    import onnx

    feed = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = (batch, *(dim.dim_value for dim in kind.shape.dim[1:]))
        low, high = tables.get(value.name, (-np.inf, np.inf))
        ends = np.isfinite(high - low)
        start, width = np.where(ends, low, 0), np.where(ends, high - low + 1, 2)
        feed[value.name] = np.clip(start + generator.random(shape) * width, low, high).astype(dtype)
    return feed
