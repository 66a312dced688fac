"""What is refused of an ONNX file before anything runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.onnx.file import read_onnx
from tests.export.onnx_forms import FLOAT, Graph, cleanrl_ppo, save


def _dense(kind: str = "Relu", domain: str = "") -> Any:
    g = Graph()
    g.nodes.append(helper.make_node(kind, ["obs"], ["h"], name="odd", domain=domain))
    g.add("MatMul", "h", g.weights(4, 2), output="action")
    taken, given = ([helper.make_tensor_value_info(name, FLOAT, ["b", n])] for name, n in (("obs", 4), ("action", 2)))
    graph = helper.make_graph(g.nodes, "g", taken, given, g.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain or "com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _write(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _older_opset(model: Any) -> None:
    model.opset_import[0].version = 5


def _newer_opset(model: Any) -> None:
    model.opset_import[0].version = 99


def _newer_ir(model: Any) -> None:
    model.ir_version = 99


def _no_opset(model: Any) -> None:
    del model.opset_import[:]


def _huge_constant(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="huge", dims=[2**40], data_type=FLOAT))


def _negative_size(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="odd", dims=[-1], data_type=FLOAT))


def _huge_value(model: Any) -> None:
    shape = numpy_helper.from_array(np.array([2**20, 2**20]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["huge"]))


def _unknown_value(model: Any) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _two_lines(model: Any) -> None:
    model.graph.node[0].name = "layer\n\x1b[31m"


def _add_function(model: Any, name: str, body: list[Any]) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", name, ["x"], ["y"], body, opsets))


def _circle(model: Any) -> None:
    for name, other in ("FG", "GF"):
        _add_function(model, name, [helper.make_node(other, ["x"], ["y"], domain="own")])
    model.opset_import.append(helper.make_opsetid("own", 1))


def _circle_in_a_branch(model: Any) -> None:
    call = helper.make_node("F", ["x"], ["z"], domain="own")
    branch = helper.make_graph([call], "branch", [], [helper.make_tensor_value_info("z", FLOAT, None)])
    _add_function(model, "F", [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])


def _doubling(model: Any) -> None:
    """Sixty functions, each of which calls the one before twice."""
    for i in range(60):
        kind = {"op_type": f"F{i - 1}", "domain": "own"} if i else {"op_type": "Relu", "domain": ""}
        pairs = (("x", "between"), ("between", "y"))
        body = [helper.make_node(inputs=[taken], outputs=[made], **kind) for taken, made in pairs]
        _add_function(model, f"F{i}", body)
    model.graph.node.append(helper.make_node("F59", ["obs"], ["huge"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_older_opset, "expected opset 7 to 22, got 5"),
        (_newer_opset, "expected opset 7 to 22, got 99"),
        (_newer_ir, "expected ONNX's IR version 10 or older, got 99"),
        (_no_opset, "names no opset"),
        (_huge_constant, "expected at most 268435456 numbers, got the shape [1099511627776]"),
        (_negative_size, "got the shape [-1]"),
        (_huge_value, "huge: expected at most 268435456 numbers, got 1099511627776"),
        (_unknown_value, "is no sound ONNX file"),
        (_two_lines, r"has a name with control characters, 'layer\n\x1b[31m'"),
        (_circle, "call each other in a circle"),
        (_circle_in_a_branch, "call each other in a circle"),
        (_doubling, "expected at most 262,144 nodes with those of its functions, got 1.2e+18"),
    ],
)
def test_an_unsound_model_is_refused_with_one_sentence(
    change: Callable[[Any], None], sentence: str, tmp_path: Path
) -> None:
    """Versions that nobody here knows, sizes beyond any policy, and graphs that do not fit together."""
    model = cleanrl_ppo().model
    change(model)
    path = _write(tmp_path / "policy.onnx", model)
    with pytest.raises(RunInvalid) as refusal:
        read_onnx(path)
    assert sentence in str(refusal.value)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", [b"logits", b"Gemm", b"written by"])
def test_a_name_that_is_no_text_is_refused(name: bytes, tmp_path: Path) -> None:
    """Of a value, of an operator, of the program that wrote the file."""
    model = cleanrl_ppo().model
    model.producer_name = "written by"
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString().replace(name, b"\xff" * len(name)))
    with pytest.raises(RunInvalid, match=r"has a name that is no text, b'.*\\xff\\xff"):
        read_onnx(path)


def test_the_program_that_wrote_a_file_is_named_on_one_line(tmp_path: Path) -> None:
    """Whatever it says of itself, nothing reaches a terminal that this would act on."""
    model = cleanrl_ppo().model
    model.producer_name, model.producer_version = "py\x1b[31mtorch\n", "2" * 1000
    producer = read_onnx(_write(tmp_path / "policy.onnx", model)).producer
    assert producer.startswith("py[31mtorch 222")
    assert len(producer) < 150


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08", b"\xff" * 100, b"PK\x03\x04" + bytes(50)])
def test_a_file_of_another_kind_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    """Whatever protobuf makes of the bytes."""
    path = tmp_path / "policy.onnx"
    path.write_bytes(content)
    with pytest.raises(RunInvalid, match="is no ONNX file"):
        read_onnx(path)


def test_a_damaged_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    """Cut at any place, it is refused, or is still a sound model; nothing else is raised."""
    whole = cleanrl_ppo().model.SerializeToString()
    path = tmp_path / "policy.onnx"
    for end in range(0, len(whole), 997):
        path.write_bytes(whole[:end])
        with pytest.raises(RunInvalid):
            read_onnx(path)


@pytest.mark.parametrize("domain", ["com.microsoft", "com.example"])
def test_an_operator_of_another_domain_is_named(domain: str, tmp_path: Path) -> None:
    """It needs a library that only a program can load, so no file of it would run anywhere."""
    path = _write(tmp_path / "policy.onnx", _dense("FusedThing", domain))
    with pytest.raises(RunInvalid, match=rf"its operator {domain}.FusedThing \(odd\) is not one of ONNX's own"):
        read_onnx(path)


def test_an_unknown_operator_of_onnx_is_named(tmp_path: Path) -> None:
    """A newer opset may have it."""
    with pytest.raises(RunInvalid, match="its operator Rolu is not known to ONNX"):
        read_onnx(_write(tmp_path / "policy.onnx", _dense("Rolu")))


def test_functions_of_the_file_are_resolved(tmp_path: Path) -> None:
    """As PyTorch's newer exporter leaves them: the model has only ONNX's own operators then."""
    model = _dense("Twice", "own")
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    read = read_onnx(_write(tmp_path / "policy.onnx", model))
    assert [node.op_type for node in read.model.graph.node] == ["Add", "MatMul"]


def test_what_a_file_takes_and_gives_is_shown_with_types_and_shapes(tmp_path: Path) -> None:
    """Free dimensions have their names."""
    read = read_onnx(save(cleanrl_ppo(), tmp_path / "policy.onnx"))
    assert read.signature == "it takes obs float32[n, 4], and gives logits float32[n, 2]"
    assert read.producer == "pytorch 2.6.0"
    onnx.checker.check_model(read.model)
