"""The graph of an ONNX source under the names of the contract, over any number of rows where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays
from rlway_export.formats.onnx.adapt import adapt
from rlway_export.reference.onnx.policy import OnnxPolicy
from tests.export.onnx_forms import FLOAT, FORMS, Form, Graph
from tests.export.reference.onnx.test_policy import opened


def _inputs(policy: OnnxPolicy, rows: int) -> Arrays:
    generator = np.random.default_rng(2)
    inputs = {}
    for spec in policy.interface.inputs:
        shape = (rows, *spec.shape)
        is_float = spec.numpy_dtype.kind == "f"
        value = generator.standard_normal(shape) if is_float else generator.integers(0, 2, shape)
        inputs[spec.name] = value.astype(spec.numpy_dtype)
    return inputs


def _run(model: Any, inputs: Arrays) -> Arrays:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_takes_any_number_of_rows(name: str, tmp_path: Path) -> None:
    """Also where the file fixes the batch to 1, or has none; the names are those of the contract."""
    policy = opened(FORMS[name](), tmp_path)
    model, notes = adapt(policy)
    onnx.checker.check_model(model, full_check=True)
    inputs = _inputs(policy, 5)
    expected, found = policy.run_act(inputs), _run(model, inputs)
    assert notes == []
    assert [value.name for value in model.graph.input] == [spec.name for spec in policy.interface.inputs]
    assert found.keys() == expected.keys()
    for output, value in expected.items():
        np.testing.assert_allclose(found[output], value, rtol=1e-5, atol=1e-5)


def _counted() -> Form:
    """A graph that expands a constant to the one row that it was traced with."""
    g = Graph()
    bias = g.add("Expand", g.weights(1, 2), g.constant(np.array([1, 2])))
    flat = g.add("Reshape", g.add("Concat", g.dense("obs", 3, 2), bias, axis=0), g.constant(np.array([1, 4])))
    g.dense(flat, 4, 2, output="action")
    return Form(g.model([("obs", FLOAT, [1, 3])], [("action", FLOAT, [1, 2])]), {})


def test_a_graph_that_stays_at_one_row_says_so(tmp_path: Path) -> None:
    """In the file's shapes, by which servers and clients know it, and in a note."""
    policy = opened(_counted(), tmp_path)
    model, (note,) = adapt(policy)
    assert note.startswith("the graph of policy.onnx takes one observation at a time")
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shapes == [[1, 3]]
    inputs = _inputs(policy, 1)
    np.testing.assert_allclose(_run(model, inputs)["action"], policy.run_act(inputs)["action"], atol=1e-6)


def _centred() -> Form:
    """The rows of a batch share their mean."""
    g = Graph()
    g.add("Sub", "obs", g.add("ReduceMean", "obs", axes=[0]), output="action")
    return Form(g.model([("obs", FLOAT, ["b", 3])], [("action", FLOAT, ["b", 3])]), {})


def test_rows_that_change_each_others_answers_are_refused(tmp_path: Path) -> None:
    """An observation has to get the same action in any batch."""
    with pytest.raises(ExportRefused, match="an observation gets other answers in a batch than by itself"):
        adapt(opened(_centred(), tmp_path))


def _both(first: Callable[[Graph], str]) -> Form:
    g = Graph()
    g.dense(first(g), 4, 3, output="logits")
    return Form(g.model([("obs", FLOAT, [1, 2, 2])], [("logits", FLOAT, [1, 3])], opset=9, ir=4), {})


@pytest.mark.parametrize(
    "flat",
    [
        lambda g: g.add("Reshape", "obs", g.constant(np.array([1, -1]))),
        lambda g: g.add("Reshape", "obs", g.constant(np.array([1, 4]))),
        lambda g: g.add("Flatten", "obs"),
    ],
)
def test_reshapes_to_one_row_are_made_free_in_any_opset(flat: Callable[[Graph], str], tmp_path: Path) -> None:
    """`view(1, -1)` and `view(1, 4)` are what PyTorch writes for a batch of 1."""
    model, notes = adapt(opened(_both(flat), tmp_path))
    assert notes == []
    assert model.opset_import[0].version == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def _half() -> Form:
    g = Graph()
    small = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float16)
    g.add("Tanh", g.add("MatMul", "obs", g.constant(small)), output="q_values")
    shape = [["b", 4], ["b", 3]]
    model = g.model([("obs", TensorProto.FLOAT16, shape[0])], [("q_values", TensorProto.FLOAT16, shape[1])])
    return Form(model, {})


def test_scores_in_float16_become_float32(tmp_path: Path) -> None:
    """As the contract has them; the observation stays what it is."""
    policy = opened(_half(), tmp_path)
    model, _ = adapt(policy)
    inputs = _inputs(policy, 5)
    found = _run(model, inputs)
    assert inputs["observation"].dtype == np.float16
    assert found["q_values"].dtype == np.float32
    np.testing.assert_allclose(found["q_values"], policy.run_act(inputs)["q_values"], atol=2e-3)
