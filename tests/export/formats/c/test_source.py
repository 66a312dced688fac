"""The policy as C99 source: it acts as the ONNX file does, operator by operator, and names what it cannot write."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rlway_client.contract.errors import BundleInvalid, ExportRefused, RuntimeMissing
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local import c_program
from rlway_client.local.c_program import FLAGS, CRunner
from rlway_export.formats.c.constants import number
from rlway_export.formats.c.source import write_c
from rlway_export.formats.registry import parse_formats
from tests.export.formats.c.c_policies import answers, draw, make_manifest, model, node

ROWS = 200
WEIGHTS = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
Constants = dict[str, AnyArray]
SPECIAL = [0.0, -0.0, 1e-45, 3.4028235e38, 1 / 3, 1e9, 16777216.0]


def rows_of(manifest: Manifest) -> Arrays:
    """Random rows, the first of zeros."""
    generator = np.random.default_rng(0)
    specs = [*manifest.observation, *([manifest.noise] if manifest.noise else [])]
    sampled = {spec.name: draw(spec, ROWS, generator) for spec in specs}
    return {name: np.concatenate([np.zeros_like(rows[:1]), rows]) for name, rows in sampled.items()}


LAYER = [node("MatMul", "observation", "w", out="x")]
FAR_FROM_0 = [*LAYER, node("Abs", "x", out="a"), node("Add", "a", "one", out="p")]
ONE: Constants = {"one": np.array(1, np.float32)}
SQUARE = [*LAYER, node("Reshape", "x", "square", out="y")]
FLAT = node("Reshape", "z", "flat")
CAST = node("Cast", "y", to=TensorProto.FLOAT)
CORNERS: Constants = {"square": np.array([-1, 2, 2]), "flat": np.array([-1, 4])}
SPREAD = helper.make_node("Expand", ["m", "whole_row"], ["action"])
SCALAR, ROW = np.float32(0.7), np.arange(4, dtype=np.float32) - 1.5
GRAPHS: dict[str, tuple[list[Any], Constants]] = {
    **{
        kind: ([*LAYER, node(kind, "x")], {})
        for kind in ("Abs", "Elu", "Exp", "LeakyRelu", "Floor", "Neg", "Relu", "Sigmoid")
    },
    **{kind: ([*LAYER, node(kind, "x")], {}) for kind in ("Softplus", "Softsign", "Tanh", "Identity", "Flatten")},
    **{kind: ([*FAR_FROM_0, node(kind, "p")], ONE) for kind in ("Log", "Reciprocal", "Sqrt")},
    "Div": ([*FAR_FROM_0, node("Div", "noise", "p")], ONE),
    **{kind: ([*LAYER, node(kind, "x", "noise")], {}) for kind in ("Add", "Max", "Min", "Mul", "Sub")},
    "a steep Elu": ([*LAYER, node("Elu", "x", alpha=2.5)], {}),
    "a scalar": ([*LAYER, node("Mul", "s", "x")], {"s": np.array(SCALAR)}),
    "a row": ([*LAYER, node("Sub", "x", "r")], {"r": ROW}),
    "Gemm": ([node("Gemm", "observation", "w", "r")], {"r": ROW}),
    "Clip": ([*LAYER, node("Clip", "x", "low", "high")], {"low": np.array(-SCALAR), "high": np.array(SCALAR)}),
    "Clip from below": ([*LAYER, node("Clip", "x", "low")], {"low": np.array(SCALAR)}),
    "Gemm with its weights on their side": (
        [node("Gemm", "observation", "t", "r", transB=1)],
        {"r": ROW, "t": WEIGHTS.T},
    ),
    "Gemm on another product": ([*LAYER, node("Gemm", "observation", "w", "x")], {}),
    "Reshape": ([*LAYER, node("Reshape", "x", "to")], {"to": np.array([-1, 4])}),
    "Pow": ([*FAR_FROM_0, node("Pow", "p", "noise")], ONE),
    "a column beside a square": (
        [*SQUARE, node("Add", "y", "column", out="z"), FLAT],
        CORNERS | {"column": np.ones((2, 1), np.float32)},
    ),
    "a row and a column": (
        [
            *SQUARE,
            node("ReduceSum", "y", "last", out="c", keepdims=1),
            node("ReduceMax", "y", out="r1", axes=[1], keepdims=1),
            node("Mul", "c", "r1", out="z"),
            FLAT,
        ],
        CORNERS | {"last": np.array([2])},
    ),
    "Transpose": (
        [
            *SQUARE,
            node("Transpose", "y", out="z", perm=[0, 2, 1]),
            node("Sub", "z", "y", out="d"),
            node("Reshape", "d", "flat", out="f1"),
            node("Reshape", "z", "flat", out="f2"),
            node("Sub", "f1", "f2"),
        ],
        CORNERS,
    ),
    **{
        kind: (
            [*SQUARE, node(kind, "y", out="z", axis=axis), FLAT],
            CORNERS,
        )
        for kind, axis in (("Softmax", -1), ("LogSoftmax", 1))
    },
    "a mean of everything": (
        [
            *LAYER,
            node("ReduceMean", "x", out="m1", axes=[1], keepdims=0),
            node("Unsqueeze", "m1", "ax", out="m"),
            SPREAD,
        ],
        {"ax": np.array([1])},
    ),
    "the smallest": ([*LAYER, node("ReduceMin", "x", out="m", axes=[-1]), SPREAD], {}),
    "Where": (
        [*LAYER, node("Greater", "x", "noise", out="b"), node("Where", "b", "x", "seven")],
        {"seven": np.full(4, 7.0, np.float32)},
    ),
    "flags": (
        [
            *LAYER,
            node("Less", "x", "noise", out="b1"),
            node("GreaterOrEqual", "x", "zero", out="b2"),
            node("And", "b1", "b2", out="b3"),
            node("Not", "b3", out="b4"),
            node("Cast", "b4", to=TensorProto.FLOAT),
        ],
        {"zero": np.zeros(1, np.float32)},
    ),
    "whole numbers": (
        [
            *LAYER,
            node("Cast", "x", out="whole", to=TensorProto.INT32),
            node("Mul", "whole", "three", out="tripled"),
            node("Max", "tripled", "whole", out="larger"),
            node("Cast", "larger", to=TensorProto.FLOAT),
        ],
        {"three": np.array([3], np.int32)},
    ),
    "Slice backwards": (
        [*LAYER, node("Slice", "x", "from", "to", "axes", "steps")],
        {"from": np.array([3]), "to": np.array([-99]), "axes": np.array([1]), "steps": np.array([-1])},
    ),
    "every other one": (
        [*LAYER, node("Slice", "x", "from", "to", "axes", "steps", out="s"), node("Concat", "s", "s", axis=1)],
        {"from": np.array([0]), "to": np.array([2**40]), "axes": np.array([1]), "steps": np.array([2])},
    ),
    "Gather": ([*LAYER, node("Gather", "x", "places", axis=1)], {"places": np.array([2, -1, 0, 2])}),
    "a single place": (
        [*LAYER, node("Gather", "x", "place", out="g", axis=1), node("Unsqueeze", "g", "place", out="m"), SPREAD],
        {"place": np.array(1)},
    ),
    "Split and Concat": (
        [
            *LAYER,
            helper.make_node("Split", ["x"], ["a", "b"], axis=1),
            node("Concat", "b", "a", axis=-1),
        ],
        {},
    ),
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
    manifest = make_manifest()
    made = model(nodes, {"w": WEIGHTS, "whole_row": np.array([1, 4])} | constants, manifest)
    expected, found = answers(made, manifest, rows_of(manifest), tmp_path)
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-6)


@pytest.mark.usefixtures("_options")
def test_a_discrete_action_is_the_first_of_the_largest(tmp_path: Path) -> None:
    """argmax as ONNX has it, ties included: whole numbers in int32."""
    nodes = [node("MatMul", "observation", "w", out="x"), node("ArgMax", "x", axis=1, keepdims=0)]
    twins = np.repeat(WEIGHTS[:, :2], 2, axis=1)  # each column twice, so that every row has a tie
    manifest = make_manifest(action=TensorSpec("action", (), "int64", 0, 3))
    expected, found = answers(model(nodes, {"w": twins}, manifest), manifest, rows_of(manifest), tmp_path)
    assert found["action"].dtype == np.int32
    assert set(expected["action"]) == {0, 2}
    np.testing.assert_array_equal(found["action"], expected["action"])


def test_the_largest_is_found_along_any_axis(tmp_path: Path) -> None:
    """Of a square, along its columns: two whole numbers."""
    nodes = [*SQUARE, node("ArgMax", "y", axis=1, keepdims=0)]
    manifest = make_manifest(action=TensorSpec("action", (2,), "int64", 0, 1))
    made = model(nodes, {"w": WEIGHTS, "square": np.array([-1, 2, 2])}, manifest)
    expected, found = answers(made, manifest, rows_of(manifest), tmp_path)
    assert {tuple(row) for row in expected["action"]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_array_equal(found["action"], expected["action"])


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        (
            [*LAYER, node("Hardmax", "x")],
            {},
            r"the operator Hardmax \(the_Hardmax\) cannot be written as C source; leave c out of --formats",
        ),
        ([*LAYER, node("Gemm", "x", "m", alpha=2.0)], {"m": np.eye(4, dtype=np.float32)}, "Gemm .* with factors"),
        ([*LAYER, node("RandomNormalLike", "x")], {}, "the operator RandomNormalLike"),
        (
            [
                node("Cast", "observation", out="whole", to=TensorProto.INT32),
                node("MatMul", "whole", "v", out="y"),
                CAST,
            ],
            {"v": np.ones((3, 4), np.int32)},
            "MatMul .* with values of int32",
        ),
        ([*LAYER, node("Mul", "x", "s")], {"s": np.array(np.nan, np.float32)}, "the constant s holds NaN"),
    ],
    ids=["operator", "use", "chance", "whole numbers", "NaN"],
)
def test_what_cannot_be_written_is_named(nodes: list[Any], constants: Constants, expected: str, tmp_path: Path) -> None:
    """The sentence has the operator, its name in the graph, and what is wrong; nothing is written."""
    with pytest.raises(ExportRefused, match=expected):
        write_c(model(nodes, {"w": WEIGHTS} | constants, make_manifest()), make_manifest(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_number_reads_back_as_itself() -> None:
    """Every sampled float32 bit pattern, subnormal ones included, survives being written and read."""
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
    write_c(model([node("MatMul", "observation", "w")], {"w": awkward}, make_manifest()), make_manifest(), tmp_path)
    (tmp_path / "peek.c").write_text('#include "policy.c"\nconst float *peek(void) { return weights_0; }\n')
    library = tmp_path / "peek.so"
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", "-o", library, tmp_path / "peek.c", "-lm"], check=True)
    peek = ctypes.CDLL(str(library)).peek
    peek.restype = ctypes.POINTER(ctypes.c_float)
    found = np.ctypeslib.as_array(peek(), (12,))
    np.testing.assert_array_equal(found.view(np.uint32), awkward.ravel().view(np.uint32))


def test_the_header_says_what_a_caller_must_know(tmp_path: Path) -> None:
    """Name, version, sizes as macros, bounds; a name in it cannot end the comment."""
    manifest = make_manifest(env="a/*b*/c")
    write_c(model([node("MatMul", "observation", "w")], {"w": WEIGHTS}, manifest), manifest, tmp_path)
    text = (tmp_path / "policy.h").read_text()
    assert '#define RLWAY_POLICY "by-hand"\n#define RLWAY_VERSION 7\n#define RLWAY_OBSERVATION_SIZE 3\n' in text
    assert "observation  float[3]     -1 to 1; -1 to inf; -1 to 2" in text
    assert text.count("*/") == 1
    CRunner(tmp_path / "policy.c", manifest)


def test_a_program_acts_greedily_without_noise_and_with_two_policies(tmp_path: Path) -> None:
    """NULL is zero noise, NULL is an unwanted output, and RLWAY_ACT renames the function."""
    nodes = [*LAYER, node("Add", "x", "noise")]
    for name, factor in (("first", 1), ("second", 10)):
        (tmp_path / name).mkdir()
        write_c(
            model(nodes, {"w": factor * np.ones((3, 4), np.float32)}, make_manifest()), make_manifest(), tmp_path / name
        )
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
    """With the compiler's own words."""
    (tmp_path / "policy.c").write_text("nonsense;\n")
    with pytest.raises(BundleInvalid, match=r"policy\.c: does not compile: .*policy\.c:1.*error"):
        CRunner(tmp_path / "policy.c", make_manifest())


def test_a_compiler_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a small machine: the sentence says so, and `rlway verify` reports the file as not run."""
    write_c(model([node("MatMul", "observation", "w")], {"w": WEIGHTS}, make_manifest()), make_manifest(), tmp_path)
    (tmp_path / "cc").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(c_program, "COMPILE_S", 0.5)
    with pytest.raises(RuntimeMissing, match=r"policy\.c: expected .*/cc to compile it within 0\.5 s on this machine"):
        CRunner(tmp_path / "policy.c", make_manifest())


def test_without_a_compiler_c_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """C source that cannot be proven is not published; other formats are not affected."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeMissing, match=r"--formats c: .*expected one of cc, gcc, clang on PATH.*cannot be proven"
    ):
        parse_formats("onnx,c")
    assert [one.name for one in parse_formats("tflite,onnx")] == ["onnx", "tflite"]
