"""The graph of an ONNX source, with the inputs and outputs of the contract.

In:      a policy in an ONNX file.
Out:     one model over any number of rows; where the graph cannot be made to take those, over one row, and a note.
Refuses: a graph whose rows change each other's answers (ExportRefused).

A batch that the file fixes to one row is made free: in the declared shapes, and in the shapes that reshapes have as
constants. A graph without a batch dimension gets one before all others. Each attempt has
to answer as the file does by itself, in batches of 1, 7 and 64. The first that does is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays, run_in_batches
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.formats.onnx.contract_graph import ContractGraph
from rlway_export.formats.onnx.lift import lifted
from rlway_export.formats.onnx.opset import modern
from rlway_export.formats.onnx.simplify import folded, free_batch
from rlway_export.reference.onnx.policy import OnnxPolicy

TRIED_ROWS = 128
BATCHES = (1, 7, 64)
CLOSE, HALF = 1e-5, 2e-3  # how far answers may differ, relative to the largest; of a graph in float16
ROW_BY_ROW = (
    "the graph of {} takes one observation at a time, and could not be made to take several: a server runs the rows of "
    "a batch one after the other."
)


class Attempt(NamedTuple):
    """One way to take the rows: the axis of the rows in each input, None for none."""

    model: Any
    axes: dict[str, int | None]
    is_free: bool


def adapt(policy: OnnxPolicy) -> tuple[Any, list[str]]:
    """The model, without metadata, and notes for the user."""
    core, inputs = modern(policy.graph, policy.name), _probes(policy)
    expected = policy.run_act(inputs)
    is_half = any(value.dtype == np.float16 for value in inputs.values()) or "float16" in policy.dtypes.values()
    close = HALF if is_half else CLOSE
    for attempt in _attempts(policy, core):
        model = ContractGraph(policy, attempt.model, attempt.axes, attempt.is_free).build()
        simple = free_batch(model, {}) if attempt.is_free else folded(model)
        for found in (simple, model):
            if found is not None and _answers_alike(found, inputs, expected, _compared(policy), attempt.is_free, close):
                return found, [] if attempt.is_free else [ROW_BY_ROW.format(policy.name)]
    raise ExportRefused(
        f"{policy.name}: an observation gets other answers in a batch than by itself, so no file of it can be "
        f"compared; export the policy for inference."
    )


def _probes(policy: OnnxPolicy) -> Arrays:
    """Rows of every input. Whole numbers may be places in a table: 0 and 1, or only 0 where 1 is none."""
    generator = np.random.default_rng(0)
    inputs = {spec.name: _probe(spec, generator) for spec in policy.interface.inputs}
    try:
        policy.run_act(inputs)
    except ExportRefused:
        whole = {spec.name for spec in policy.interface.observation if spec.is_discrete}
        return {name: np.zeros_like(array) if name in whole else array for name, array in inputs.items()}
    return inputs


def _probe(spec: TensorSpec, generator: np.random.Generator) -> AnyArray:
    shape, dtype = (TRIED_ROWS, *spec.shape), spec.numpy_dtype
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    highest = 255 if dtype == np.uint8 else 1
    return generator.integers(0, highest, shape, endpoint=True).astype(dtype)


def _attempts(policy: OnnxPolicy, core: Any) -> Iterator[Attempt]:
    places = policy.layout.places | {draw.name: place for draw, place in policy.draw_places()}
    axes = {name: place.axis for name, place in places.items()}
    if policy.layout.is_free:
        yield Attempt(core, axes, is_free=True)
        return
    if not policy.layout.is_batched:
        without = {name: None if name in policy.roles.fixed else 0 for name in axes}
        yield Attempt(lifted(core), without, is_free=True)
    else:
        freed = _with_free_reshapes(core)
        yield Attempt(freed, axes, is_free=True)
        if 1 in axes.values():  # a state of one layer may have its rows on either axis
            yield Attempt(freed, {name: 0 if axis == 1 else axis for name, axis in axes.items()}, is_free=True)
    yield Attempt(core, axes, is_free=False)


def _with_free_reshapes(core: Any) -> Any:
    """A copy in which a constant shape that begins with the one row takes any number of rows."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(core)
    known = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    shapes = {value.name: _static(value) for value in [*known.value_info, *known.output]}
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in copy.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    for i, node in enumerate(copy.graph.node):
        shape = shapes.get(node.output[0])
        if node.op_type == "Reshape" and node.input[1] in constants and shape and shape[0] == 1 and len(shape) > 1:
            free = onnx.numpy_helper.from_array(np.array([-1, *shape[1:]], np.int64), f"rlway_free_shape_{i}")
            copy.graph.initializer.append(free)
            node.input[1] = free.name
    return copy


def _static(value: Any) -> list[int] | None:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value for dim in dims] if all(dim.dim_value > 0 for dim in dims) else None


def _compared(policy: OnnxPolicy) -> list[str]:
    """Scores rather than actions where there are any, because two actions may have equal ones."""
    interface = policy.interface
    judged = interface.judged or [spec.name for spec in interface.actions]
    return [*judged, *(spec.name for spec in interface.next_state)]


def _answers_alike(
    model: Any, inputs: Arrays, expected: Arrays, compared: list[str], is_free: bool, close: float
) -> bool:
    """Whether the model gives what the file gives."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        taken = [value.name for value in session.get_inputs()]

        def run(rows: Arrays) -> Arrays:
            return dict(zip(compared, session.run(compared, {name: rows[name] for name in taken}), strict=True))

        for batch in BATCHES if is_free else (1,):
            found = run_in_batches(run, inputs, batch)
            if not all(_near(expected[name], found[name], close) for name in compared):
                return False
    except Exception:  # onnxruntime raises many unrelated kinds for a graph that does not take the rows
        return False
    return True


def _near(expected: Any, found: Any, close: float) -> bool:
    largest = max(1.0, float(np.abs(expected).max()))
    return expected.shape == found.shape and bool(np.allclose(expected, found, 0, close * largest, equal_nan=True))
