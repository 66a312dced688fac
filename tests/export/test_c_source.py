"""The policy as C99 source: it acts as the ONNX file does, operator by operator, and says what it cannot write."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rlway_client.c_program import FLAGS, CRunner
from rlway_client.errors import BundleInvalid, ExportRefused, RuntimeMissing
from rlway_client.manifest import Manifest
from rlway_client.runners import OnnxRunner
from rlway_client.specs import AnyArray, TensorSpec
from rlway_export.c_operators import number
from rlway_export.c_source import write_c
from rlway_export.targets import parse_formats

ROWS = 200
WEIGHTS = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
Constants = dict[str, AnyArray]
SPECIAL = [0.0, -0.0, 1e-45, 3.4028235e38, 1 / 3, 1e9, 16777216.0]


def manifest(**fields: Any) -> Manifest:
    """A continuous policy from three numbers to four."""
    common: dict[str, Any] = {
        "policy": "by-hand",
        "version": 7,
        "algorithm": "sac",
        "env": "Somewhere-v0",
        "observation": [TensorSpec("observation", (3,), "float32", -1, [1, None, 2])],
        "action": TensorSpec("action", (4,), "float32", -2, 2),
        "noise": TensorSpec("noise", (4,), "float32"),
    }
    return Manifest(**common | fields)


def model(nodes: list[Any], constants: Constants, kind: int = TensorProto.FLOAT, size: int | None = 4) -> Any:
    """A graph from `observation` [batch, 3] and `noise` [batch, 4] to `action`."""
    inputs = [
        helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", 4]),
    ]
    action = helper.make_tensor_value_info("action", kind, ["batch"] if size is None else ["batch", size])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", inputs, [action], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def answers(made: Any, facts: Manifest, folder: Path) -> tuple[AnyArray, AnyArray]:
    """Actions from onnxruntime and from the compiled source, over the same rows."""
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    write_c(made, facts, folder)
    runner = CRunner(folder / "policy.c", facts)
    generator = np.random.default_rng(0)
    rows = 3 * generator.standard_normal((ROWS, 7)).astype(np.float32)
    inputs = {"observation": np.ascontiguousarray(rows[:, :3]), "noise": np.ascontiguousarray(rows[:, 3:])}
    expected = OnnxRunner(folder / "model.onnx").run(inputs)["action"]
    singles = [runner.run({name: value[i : i + 1] for name, value in inputs.items()}) for i in range(ROWS)]
    return expected, np.concatenate([single["action"] for single in singles])


def node(kind: str, *inputs: str, out: str = "action", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [out], name=f"the_{kind}", **attributes)


LAYER = [node("MatMul", "observation", "w", out="x")]
FAR_FROM_0 = [*LAYER, node("Abs", "x", out="a"), node("Add", "a", "one", out="p")]
ONE: Constants = {"one": np.array(1, np.float32)}
SCALAR, ROW = np.float32(0.7), np.arange(4, dtype=np.float32) - 1.5
GRAPHS: dict[str, tuple[list[Any], Constants]] = {
    **{kind: ([*LAYER, node(kind, "x")], {}) for kind in ("Abs", "Elu", "Exp", "LeakyRelu", "Neg", "Relu", "Sigmoid")},
    **{kind: ([*LAYER, node(kind, "x")], {}) for kind in ("Softplus", "Tanh", "Identity", "Flatten")},
    **{kind: ([*FAR_FROM_0, node(kind, "p")], ONE) for kind in ("Log", "Reciprocal", "Sqrt")},
    "Div": ([*FAR_FROM_0, node("Div", "noise", "p")], ONE),
    **{kind: ([*LAYER, node(kind, "x", "noise")], {}) for kind in ("Add", "Max", "Min", "Mul", "Sub")},
    "a steep Elu": ([*LAYER, node("Elu", "x", alpha=2.5)], {}),
    "a scalar": ([*LAYER, node("Mul", "s", "x")], {"s": np.array(SCALAR)}),
    "a row": ([*LAYER, node("Sub", "x", "r")], {"r": ROW}),
    "Gemm": ([node("Gemm", "observation", "w", "r")], {"r": ROW}),
    "Clip": ([*LAYER, node("Clip", "x", "low", "high")], {"low": np.array(-SCALAR), "high": np.array(SCALAR)}),
    "Clip from below": ([*LAYER, node("Clip", "x", "low")], {"low": np.array(SCALAR)}),
    "Split and Concat": (
        [
            *LAYER,
            helper.make_node("Split", ["x"], ["a", "b"], axis=1),
            node("Concat", "b", "a", axis=-1),
        ],
        {},
    ),
    "Reshape": ([*LAYER, node("Reshape", "x", "to")], {"to": np.array([-1, 4])}),
    "a value that is read again": (
        [*LAYER, node("Relu", "x", out="r1"), node("Tanh", "r1", out="t"), node("Add", "t", "r1")],
        {},
    ),
    "a value that is read again under another name": (
        [*LAYER, node("Identity", "x", out="same"), node("Relu", "same", out="r1"), node("Sub", "r1", "x")],
        {},
    ),
    "constants folded": (
        [node("Sqrt", "v", out="d"), node("Div", "observation", "d", out="o"), node("MatMul", "o", "w")],
        {"v": np.array([0.5, 2.0, 9.0], np.float32)},
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_operator_gives_what_onnxruntime_gives(graph: str, tmp_path: Path) -> None:
    """To a few parts in a million, over 200 rows; the source compiles without a warning."""
    nodes, constants = GRAPHS[graph]
    expected, found = answers(model(nodes, {"w": WEIGHTS} | constants), manifest(), tmp_path)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_a_discrete_action_is_the_first_of_the_largest(tmp_path: Path) -> None:
    """argmax as ONNX has it, ties included: whole numbers in int32."""
    nodes = [node("MatMul", "observation", "w", out="x"), node("ArgMax", "x", axis=1, keepdims=0)]
    twins = np.repeat(WEIGHTS[:, :2], 2, axis=1)  # each column twice, so that every row has a tie
    facts = manifest(action=TensorSpec("action", (), "int64", 0, 3))
    expected, found = answers(model(nodes, {"w": twins}, TensorProto.INT64, None), facts, tmp_path)
    assert found.dtype == np.int32
    assert set(expected) == {0, 2}
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        (
            [*LAYER, node("Erf", "x")],
            {},
            r"the operator Erf \(the_Erf\) cannot be written as C source; expected only A",
        ),
        ([*LAYER, node("Gemm", "x", "m", transB=1)], {"m": np.eye(4, dtype=np.float32)}, "Gemm .* transposed matrices"),
        (
            [
                *LAYER,
                node("Reshape", "x", "square", out="y"),
                node("Add", "y", "column", out="z"),
                node("Reshape", "z", "flat"),
            ],
            {"square": np.array([-1, 2, 2]), "flat": np.array([-1, 4]), "column": np.ones((2, 1), np.float32)},
            r"Add .* with an array of \[2, 1\] beside one of \[2, 2\]",
        ),
        ([*LAYER, node("Mul", "x", "s")], {"s": np.array(np.inf, np.float32)}, "the constant s is not finite"),
    ],
    ids=["operator", "use", "shapes", "infinity"],
)
def test_what_cannot_be_written_is_named(nodes: list[Any], constants: Constants, expected: str, tmp_path: Path) -> None:
    """The operator and its name in the graph, and what was wrong with it; nothing is written."""
    with pytest.raises(ExportRefused, match=expected):
        write_c(model(nodes, {"w": WEIGHTS} | constants), manifest(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_number_reads_back_as_itself() -> None:
    """Every float32 bit pattern that was drawn, subnormal ones included, survives being written and read."""
    patterns = np.random.default_rng(0).integers(0, 1 << 32, 20_000, np.uint32)
    values = patterns.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.array(SPECIAL, np.float32)])
    texts = [number(value) for value in values]
    assert all(text.endswith("f") and ("." in text or "e" in text) for text in texts)
    read = np.array([np.float32(text[:-1]) for text in texts])
    np.testing.assert_array_equal(read.view(np.uint32), values.view(np.uint32))


def test_the_compiler_reads_the_weights_that_were_written(tmp_path: Path) -> None:
    """Bit for bit, out of the compiled library."""
    awkward = np.array([[1e-42, -0.0, 1 / 3, 3.4028235e38], [16777217, 1e-7, 0.1, -5e-324], [7, 8, 9, 1e9]], np.float32)
    write_c(model([node("MatMul", "observation", "w")], {"w": awkward}), manifest(), tmp_path)
    (tmp_path / "peek.c").write_text('#include "policy.c"\nconst float *peek(void) { return weights_0; }\n')
    library = tmp_path / "peek.so"
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", "-o", library, tmp_path / "peek.c", "-lm"], check=True)
    peek = ctypes.CDLL(str(library)).peek
    peek.restype = ctypes.POINTER(ctypes.c_float)
    found = np.ctypeslib.as_array(peek(), (12,))
    np.testing.assert_array_equal(found.view(np.uint32), awkward.ravel().view(np.uint32))


def test_the_header_says_what_a_caller_must_know(tmp_path: Path) -> None:
    """Name, version, sizes as macros, bounds; a name in it cannot end the comment."""
    write_c(model([node("MatMul", "observation", "w")], {"w": WEIGHTS}), manifest(env="a/*b*/c"), tmp_path)
    text = (tmp_path / "policy.h").read_text()
    assert '#define RLWAY_POLICY "by-hand"\n#define RLWAY_VERSION 7\n#define RLWAY_OBSERVATION_SIZE 3\n' in text
    assert "observation  float[3]     -1 to 1; -1 to inf; -1 to 2" in text
    assert text.count("*/") == 1
    CRunner(tmp_path / "policy.c", manifest())


def test_a_program_acts_greedily_without_noise_and_with_two_policies(tmp_path: Path) -> None:
    """NULL is zero noise, NULL is an output that is not wanted, and RLWAY_ACT renames the function."""
    nodes = [*LAYER, node("Add", "x", "noise")]
    for name, factor in (("first", 1), ("second", 10)):
        (tmp_path / name).mkdir()
        write_c(model(nodes, {"w": factor * np.ones((3, 4), np.float32)}), manifest(), tmp_path / name)
        command: list[str | Path] = [
            "cc",
            *FLAGS,
            f"-DRLWAY_ACT={name}_act",
            "-c",
            "-o",
            tmp_path / f"{name}.o",
            tmp_path / name / "policy.c",
        ]
        subprocess.run(command, check=True)
    (tmp_path / "main.c").write_text(
        "#define RLWAY_ACT first_act\n"
        '#include "first/policy.h"\n'
        "#undef RLWAY_POLICY_H\n#undef RLWAY_ACT\n#define RLWAY_ACT second_act\n"
        '#include "second/policy.h"\n'
        "#include <stddef.h>\n#include <stdio.h>\n"
        "int main(void)\n{\n"
        "    const float observation[RLWAY_OBSERVATION_SIZE] = {1, 2, 3}, noise[RLWAY_NOISE_SIZE] = {0, 0, 0, 0.5f};\n"
        "    float action[RLWAY_ACTION_SIZE];\n"
        "    first_act(observation, NULL, action);\n"
        '    printf("%g %g\\n", action[0], action[3]);\n'
        "    second_act(observation, noise, action);\n"
        '    printf("%g %g\\n", action[0], action[3]);\n'
        "    second_act(observation, noise, NULL);\n"
        "    return 0;\n}\n"
    )
    objects = [tmp_path / "first.o", tmp_path / "second.o"]
    subprocess.run(["cc", *FLAGS, "-o", tmp_path / "program", tmp_path / "main.c", *objects, "-lm"], check=True)
    done = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True)
    assert done.stdout == "6 6\n60 60.5\n"


def test_source_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    """With the compiler's own first line."""
    (tmp_path / "policy.c").write_text("nonsense;\n")
    with pytest.raises(BundleInvalid, match=r"policy\.c: does not compile: .*policy\.c:1"):
        CRunner(tmp_path / "policy.c", manifest())


def test_without_a_compiler_c_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What cannot be proven is not published; other formats do not mind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeMissing, match=r"--formats c: .*expected one of cc, gcc, clang on PATH.*cannot be proven"
    ):
        parse_formats("onnx,c")
    assert [target.name for target in parse_formats("tflite,onnx")] == ["onnx", "tflite"]
