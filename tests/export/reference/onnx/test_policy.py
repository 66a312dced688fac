"""An ONNX file as the reference: its own answers, under the names of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.parity import Arrays
from rlway_export.reference.onnx import policy as policy_module
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.reference.roles import ActionPart, Roles, StatePart
from rlway_export.sources.onnx.file import read_onnx
from rlway_export.sources.onnx.recipes import recognise
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_options import TensorOptions
from tests.export import onnx_forms
from tests.export.onnx_forms import BOOL, FLOAT, INT64, UINT8, Form, Graph, Value


def opened(form: Form, folder: Path, **options: Any) -> OnnxPolicy:
    file = read_onnx(onnx_forms.save(form, folder / "policy.onnx"))
    roles, _ = find_roles(file, TensorOptions(**{**form.options, **options}), recognise(file))
    return OnnxPolicy(file.model, roles, "policy.onnx")


def _run(form: Form, feed: Arrays) -> Arrays:
    session = ort.InferenceSession(form.model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def _plain(model: Any, tensor: str = "action", meaning: Any = "action", **roles: Any) -> OnnxPolicy:
    held = {"observation": ["obs"], "state": [], "fixed": {}} | roles
    return OnnxPolicy(model, Roles(action=[ActionPart(tensor, meaning)], **held), "policy.onnx")


def test_scores_give_the_action_with_the_largest_sum_of_score_and_noise(tmp_path: Path) -> None:
    """As the contract has it, from the file's own scores."""
    form, generator = onnx_forms.cleanrl_ppo(), np.random.default_rng(0)
    observed, noise = (generator.standard_normal((300, n)).astype(np.float32) for n in (4, 2))
    found = opened(form, tmp_path).run_act({"observation": observed, "noise": noise})
    expected = _run(form, {"obs": observed})["logits"]
    assert np.array_equal(found["logits"], expected)
    assert np.array_equal(found["action"], np.argmax(expected + noise, axis=1))


def test_a_file_of_one_row_is_run_row_by_row(tmp_path: Path) -> None:
    """It is the file as it is, whatever an export makes of its batch."""
    form, observed = onnx_forms.rsl_rl(), np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    policy = opened(form, tmp_path)
    expected = [_run(form, {"obs": row[np.newaxis]})["actions"][0] for row in observed]
    assert np.array_equal(policy.run_act({"observation": observed})["action"], expected)
    assert policy.batch_sizes == (1,)


def test_a_file_without_a_batch_dimension_takes_one_row(tmp_path: Path) -> None:
    """Its rows get and lose that dimension."""
    form, observed = onnx_forms.torchrl(), np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    expected = [_run(form, {"observation": row})["action"] for row in observed]
    assert np.array_equal(opened(form, tmp_path).run_act({"observation": observed})["action"], expected)


def test_a_state_of_pytorch_has_its_rows_on_the_second_axis(tmp_path: Path) -> None:
    """[layers, batch, size] in the file is [batch, layers, size] in the contract; `reset` begins with zeros."""
    form, generator = onnx_forms.rsl_rl_lstm(), np.random.default_rng(0)
    policy = opened(form, tmp_path)
    observed = generator.standard_normal((2, 6)).astype(np.float32)
    state = {name: generator.standard_normal((2, 2, 8)).astype(np.float32) for name in ("state_h_in", "state_c_in")}
    found = policy.run_act({"observation": observed, "reset": np.array([False, True]), **state})
    for row, kept in enumerate((1.0, 0.0)):
        feed = {name: kept * state[f"state_{name}"][row][:, np.newaxis] for name in ("h_in", "c_in")}
        expected = _run(form, {"obs": observed[row : row + 1], **feed})
        assert np.array_equal(found["action"][row], expected["actions"][0])
        assert np.array_equal(found["next_state_h_in"][row], expected["h_out"][:, 0])


def test_a_state_may_begin_with_other_values_than_zeros() -> None:
    """Those of the source, without a batch."""
    g = Graph()
    g.add("Add", "obs", "h", output="action")
    g.add("Identity", "action", output="h_next")
    shape = ["b", 2]
    model = g.model([("obs", FLOAT, shape), ("h", FLOAT, shape)], [("action", FLOAT, shape), ("h_next", FLOAT, shape)])
    first = np.array([3.0, 4.0], np.float32)
    policy = _plain(model, state=[StatePart("h", "h_next", first)])
    rows = np.ones((2, 2), np.float32)
    found = policy.run_act({"observation": rows, "state": rows, "reset": np.array([True, False])})
    assert found["action"].tolist() == [[4.0, 5.0], [2.0, 2.0]]


def test_pixels_have_the_bounds_of_their_type(tmp_path: Path) -> None:
    """Nothing is known of other numbers."""
    policy = opened(onnx_forms.sb3_dqn(), tmp_path)
    (spec,) = policy.interface.observation
    assert (spec.dtype, spec.minimum, spec.maximum) == ("uint8", 0.0, 255.0)
    assert (policy.interface.actions[0].minimum, policy.interface.actions[0].maximum) == (0.0, 3.0)


def test_only_what_the_wanted_outputs_need_has_to_run() -> None:
    """Another output may draw uniformly, or take an input of its own."""
    g = Graph()
    g.add("Identity", "obs", output="action")
    g.add("RandomUniformLike", "other", output="unused", dtype=FLOAT)
    shape = ["b", 2]
    inputs: list[Any] = [("obs", FLOAT, shape), ("other", FLOAT, shape)]
    model = g.model(inputs, [("action", FLOAT, shape), ("unused", FLOAT, shape)])
    assert _plain(model, fixed={"other": 1.0}).interface.noise is None


def _endless() -> Any:
    """A loop of 2^62 rounds, each of which adds 1."""
    g = Graph()
    inside = [
        helper.make_node("Add", ["x", "one"], ["y"]),
        helper.make_node("Identity", ["going"], ["still"]),
    ]
    taken: list[Value] = [("i", INT64, []), ("going", BOOL, []), ("x", FLOAT, None)]
    given: list[Value] = [("still", BOOL, []), ("y", FLOAT, None)]
    values, results = ([helper.make_tensor_value_info(*one) for one in side] for side in (taken, given))
    body = helper.make_graph(inside, "body", values, results)
    g.constants.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "one"))
    rounds, true = g.constant(np.array(2**62)), g.constant(np.array(True))
    g.add("Loop", rounds, true, "obs", output="action", body=body)
    return g.model([("obs", FLOAT, ["b", 2])], [("action", FLOAT, ["b", 2])])


def test_a_graph_that_runs_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is converted."""
    monkeypatch.setattr(policy_module, "LONGEST_S", 0.2)
    with pytest.raises(ExportRefused, match="takes longer than 0 s"):
        _plain(_endless())


def _graph(kind: str, outputs: Any, obs: Any = ("obs", FLOAT, ["b", 4]), **attributes: Any) -> Any:
    g = Graph()
    g.add(kind, "obs", output="action", **attributes)
    return g.model([obs], [outputs])


@pytest.mark.parametrize(
    ("model", "meaning", "sentence"),
    [
        (_graph("ReduceSum", ("action", FLOAT, [1]), keepdims=0), "action", "expected an action for each of 2 obs"),
        (_graph("ReduceMean", ("action", FLOAT, ["b"]), axes=[1], keepdims=0), "logits", "expected a score for each"),
        (_graph("Relu", ("action", FLOAT, ["b", "t", 4]), ("obs", FLOAT, ["b", "t", 4])), "action", "got [b, t, 4]"),
        (_graph("Relu", ("action", FLOAT, ["b", 0]), ("obs", FLOAT, ["b", 0])), "action", "only the batch to be free"),
        (_graph("Cast", ("action", TensorProto.STRING, ["b", 4]), to=TensorProto.STRING), "action", "got object"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(model: Any, meaning: str, sentence: str) -> None:
    """What one row of the file gives decides, not what it declares."""
    with pytest.raises(ExportRefused) as refusal:
        _plain(model, meaning=meaning)
    assert sentence in str(refusal.value)


def _wide_draw() -> Any:
    g = Graph()
    g.add("ReduceMean", g.add("Add", "obs", g.add("RandomNormal", shape=[1, 2**27])), output="action", axes=[1])
    return g.model([("obs", FLOAT, ["b", 1])], [("action", FLOAT, ["b", 1])])


@pytest.mark.parametrize(
    "model", [_graph("ReduceMean", ("action", FLOAT, ["b", 1]), ("obs", FLOAT, ["b", 2**27]), axes=[1]), _wide_draw()]
)
def test_rows_beyond_any_memory_are_refused(model: Any) -> None:
    """Files are compared over thousands of them."""
    with pytest.raises(ExportRefused, match=r"expected at most 2,097,152 numbers in the inputs of one row, got 134,2"):
        _plain(model)


def test_an_observation_that_nothing_reads_is_refused() -> None:
    """Rather than ask callers for it."""
    model = _graph("Relu", ("action", FLOAT, ["b", 4]))
    model.graph.input.append(helper.make_tensor_value_info("mask", UINT8, ["b", 4]))
    with pytest.raises(ExportRefused, match="its action does not depend on mask; leave that out"):
        _plain(model, observation=["obs", "mask"])
