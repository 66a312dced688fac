"""Every operator that is lowered to TensorFlow, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.formats.lowering.operators import LOWERINGS
from rlway_export.formats.lowering.plain import REWRITES, plain
from rlway_export.formats.lowering.policy import LoweredPolicy
from tests.export.onnx_forms import BOOL, FLOAT, INT64, Graph

ONNX_TYPES = {"float32": FLOAT, "int64": INT64, "bool": BOOL}
SINCE = {"Gelu": 20, "Mish": 18}  # opsets
ROWS = 3


def _floats(*shape: int) -> AnyArray:
    return np.random.default_rng(0).standard_normal((ROWS, *shape)).astype(np.float32)


def _whole(*shape: int) -> AnyArray:
    return np.random.default_rng(0).integers(0, 4, (ROWS, *shape))


def _flags(*shape: int) -> AnyArray:
    return np.random.default_rng(0).integers(0, 2, (ROWS, *shape)).astype(np.bool_)


def i64(*numbers: int) -> AnyArray:
    return np.array(numbers, np.int64)


def f32(*numbers: float) -> AnyArray:
    return np.array(numbers, np.float32)


WEIGHTS = np.random.default_rng(1).standard_normal((8, 8, 3, 3)).astype(np.float32) / 3
POSITIVE = np.abs(_floats(4)) + np.float32(0.1)
IMAGE = _floats(4, 9, 9)

# The operator, what varies by row, its constant arguments, its attributes.
CASES: list[tuple[str, list[Any], list[Any], dict[str, Any]]] = [
    *((kind, [_floats(4)], [], {}) for kind in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Round")),
    *((kind, [_floats(4)], [], {}) for kind in ("Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tan", "Tanh")),
    *((kind, [POSITIVE], [], {}) for kind in ("Log", "Reciprocal", "Sqrt")),
    *((kind, [_floats(4), _floats(4)[::-1].copy()], [], {}) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *((kind, [_whole(4), _whole(4)[::-1].copy()], [], {}) for kind in ("Equal", "Greater", "GreaterOrEqual", "Less")),
    *((kind, [_flags(4), _flags(4)[::-1].copy()], [], {}) for kind in ("And", "Or", "Xor")),
    ("LessOrEqual", [_floats(4), _floats(4)], [], {}),
    ("Not", [_flags(4)], [], {}),
    ("Div", [_whole(4) - 7], [i64(2)], {}),
    ("Mod", [_whole(4) - 2], [i64(3)], {}),
    ("Mod", [_floats(4)], [f32(0.7)], {"fmod": 1}),
    ("Pow", [_floats(4)], [f32(2.0)], {}),
    ("Pow", [POSITIVE], [f32(1.5)], {}),
    ("Where", [_flags(4), _floats(4)], [f32(-1.0)], {}),
    ("Elu", [_floats(4)], [], {"alpha": 0.7}),
    ("LeakyRelu", [_floats(4)], [], {}),
    ("Clip", [_floats(4)], [np.array(-0.5, np.float32), np.array(0.5, np.float32)], {}),
    ("Clip", [_floats(4)], ["", np.array(0.5, np.float32)], {}),
    ("Cast", [_floats(4) * 3], [], {"to": INT64}),
    ("Cast", [_whole(4)], [], {"to": BOOL}),
    # Layers.
    ("MatMul", [_floats(4)], [WEIGHTS[0, :4, 0]], {}),
    ("MatMul", [_floats(5, 4)], [np.ascontiguousarray(WEIGHTS[:4, :6, 0, 0])], {}),
    ("MatMul", [_floats(5, 4), _floats(4, 2)], [], {}),
    ("Gemm", [_floats(8)], [WEIGHTS[:, :, 0, 0].copy(), f32(*range(8))], {"transB": 1}),
    ("Gemm", [_floats(8)], [WEIGHTS[:, :, 0, 0].copy(), f32(1.0)], {"alpha": 0.5, "beta": 2.0}),
    ("Conv", [IMAGE], [WEIGHTS[:, :4].copy(), f32(*range(8))], {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("Conv", [IMAGE], [WEIGHTS[:, :4].copy()], {"pads": [1, 1, 1, 1]}),
    ("Conv", [IMAGE], [WEIGHTS[:, :4].copy()], {"strides": [3, 3], "auto_pad": "SAME_UPPER"}),
    ("Conv", [IMAGE], [WEIGHTS[:, :4].copy()], {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("Conv", [IMAGE], [WEIGHTS[:, :4].copy()], {"dilations": [2, 2], "pads": [0, 1, 0, 1]}),
    ("Conv", [IMAGE], [WEIGHTS[:4, :1].copy(), f32(*range(4))], {"group": 4}),
    ("Conv", [IMAGE], [WEIGHTS[:, :2].copy()], {"group": 2, "auto_pad": "VALID"}),
    ("Conv", [_floats(4, 9)], [WEIGHTS[:, :4, 0].copy(), f32(*range(8))], {"strides": [2], "pads": [1, 1]}),
    ("MaxPool", [IMAGE], [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [IMAGE], [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", [IMAGE], [], {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0]}),
    (
        "AveragePool",
        [IMAGE],
        [],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1, "strides": [2, 2]},
    ),
    # Movement.
    ("Identity", [_floats(4)], [], {}),
    ("Dropout", [_floats(4)], [], {}),
    ("Reshape", [_floats(2, 6)], [i64(0, 3, -1)], {}),
    ("Flatten", [_floats(2, 6)], [], {}),
    ("Squeeze", [_floats(1, 4)], [i64(1)], {}),
    ("Unsqueeze", [_floats(4)], [i64(1, -1)], {}),
    ("Transpose", [_floats(2, 6)], [], {"perm": [0, 2, 1]}),
    ("Transpose", [_floats(9, 9, 4)], [], {"perm": [0, 3, 1, 2]}),
    ("Concat", [_floats(4), _floats(2)], [], {"axis": 1}),
    ("Slice", [_floats(8)], [i64(-1), i64(-9), i64(1), i64(-2)], {}),
    ("Slice", [_floats(8)], [i64(1), i64(2**62), i64(1)], {}),
    ("Gather", [_floats(8)], [i64(-1, 0, 3)], {"axis": 1}),
    ("Gather", [_floats(8)], [np.array(-2)], {"axis": 1}),
    ("GatherND", [_floats(4, 2), _whole(1)], [], {"batch_dims": 1}),
    ("GatherElements", [_floats(4), _whole(2)], [], {"axis": 1}),
    ("OneHot", [_whole() - 2], [i64(5), f32(0.0, 2.0)], {"axis": -1}),
    ("Expand", [_floats(1)], [i64(1, 4)], {}),
    ("Tile", [_floats(2)], [i64(1, 3)], {}),
    ("Pad", [_floats(2)], [i64(0, 1, 0, 2), np.array(0.5, np.float32)], {}),
    ("Pad", [_floats(4)], [i64(0, 2, 0, 1)], {"mode": "reflect"}),
    ("CumSum", [_floats(4)], [np.array(1)], {"reverse": 1}),
    ("Einsum", [_floats(2, 4), _floats(4)], [], {"equation": "bij,bj->bi"}),
    # Reductions.
    *((kind, [_floats(3, 4)], [], {"axes": [2], "keepdims": 0}) for kind in ("ReduceMax", "ReduceMean", "ReduceMin")),
    *((kind, [_floats(3, 4)], [], {"axes": [1, 2]}) for kind in ("ReduceProd", "ReduceLogSumExp")),
    *(
        (kind, [_floats(3, 4)], [], {"axes": [1], "keepdims": 0})
        for kind in ("ReduceL1", "ReduceL2", "ReduceSumSquare")
    ),
    ("ReduceSum", [_floats(3, 4)], [i64(-1)], {}),
    ("Softmax", [_floats(3, 4)], [], {"axis": 1}),
    ("LogSoftmax", [_floats(4)], [], {}),
    ("ArgMax", [_floats(4)], [], {"axis": 1, "keepdims": 0}),
    ("ArgMin", [_floats(4)], [], {"axis": -1}),
    # In terms of others.
    ("BatchNormalization", [IMAGE], [f32(1, 2, 3, 4), f32(0, 1, 0, 1), f32(0, 0, 1, 1), f32(1, 2, 3, 4)], {}),
    ("LayerNormalization", [_floats(8)], [f32(*range(8)), f32(*range(8))], {"epsilon": 1e-3}),
    ("GlobalAveragePool", [IMAGE], [], {}),
    ("GlobalMaxPool", [IMAGE], [], {}),
    ("HardSigmoid", [_floats(4) * 3], [], {}),
    ("HardSwish", [_floats(4) * 3], [], {}),
    ("Selu", [_floats(4)], [], {}),
    ("Mish", [_floats(4)], [], {}),
    ("Gelu", [_floats(4)], [], {}),
    ("Gelu", [_floats(4)], [], {"approximate": "tanh"}),
    ("PRelu", [_floats(4)], [f32(0.1, 0.2, 0.3, 0.4)], {}),
    *((kind, [_floats(4), _floats(4)[::-1].copy(), _floats(1)], [], {}) for kind in ("Sum", "Mean", "Max", "Min")),
]


def _model(kind: str, rows: list[AnyArray], constants: list[Any], attributes: dict[str, Any]) -> tuple[Any, Arrays]:
    """A graph of this one operator, and its inputs."""
    g = Graph()
    names = [f"x{i}" for i in range(len(rows))]
    arguments = [one if isinstance(one, str) else g.constant(one) for one in constants]
    g.add(kind, *names, *arguments, output="y", **attributes)
    inputs: list[Any] = [
        (name, ONNX_TYPES[str(value.dtype)], ["b", *value.shape[1:]]) for name, value in zip(names, rows, strict=True)
    ]
    return g.model(inputs, [("y", FLOAT, None)], SINCE.get(kind, 17), 9), dict(zip(names, rows, strict=True))


def _expected(model: Any, feed: Arrays) -> AnyArray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for output in model.graph.output:
        output.ClearField("type")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    value: AnyArray = session.run(["y"], feed)[0]
    return value


def lowered(model: Any, feed: Arrays, expected: AnyArray, batch: int | None = None) -> AnyArray:
    """What TensorFlow gives for the graph's one output."""
    specs = [TensorSpec(name, value.shape[1:], str(value.dtype)) for name, value in feed.items()]
    result = TensorSpec("y", expected.shape[1:], str(expected.dtype))
    policy = LoweredPolicy(plain(model), Interface(specs, [result], None, [], []), batch)
    return policy.run_act(feed)["y"]


@pytest.mark.parametrize(
    ("kind", "rows", "constants", "attributes"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)]
)
def test_an_operator_gives_what_onnxruntime_gives(
    kind: str, rows: list[AnyArray], constants: list[Any], attributes: dict[str, Any]
) -> None:
    """Over a free batch, as a SavedModel has it."""
    model, feed = _model(kind, rows, constants, attributes)
    expected = _expected(model, feed)
    found = lowered(model, feed, expected)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_every_lowering_is_tested() -> None:
    """Those that are left only make constants or shapes, or are within recurrent layers."""
    left = {"Constant", "ConstantOfShape", "Range", "Shape", "Size", "Split"}
    recurrent = {"LSTM", "GRU", "RNN"}
    assert {case[0] for case in CASES} | left | recurrent >= {*LOWERINGS, *REWRITES}


def test_shapes_are_constants_where_they_are_known() -> None:
    """The batch stays free: the rest of a computed shape does not."""
    g = Graph()
    shape = g.add("Shape", "x0")
    batch = g.add("Slice", shape, g.constant(i64(0)), g.constant(i64(1)))
    rest = g.add("Unsqueeze", g.add("Size", g.constant(f32(*range(6)))), g.constant(i64(0)))
    wide = g.add("Reshape", "x0", g.add("Concat", batch, rest, axis=0))
    counted = g.add("Range", g.constant(np.array(0)), g.constant(np.array(6)), g.constant(np.array(1)))
    zeros = g.add("ConstantOfShape", g.add("Shape", wide))
    parts = g.add("Add", g.add("Add", wide, zeros), g.add("Cast", counted, to=FLOAT))
    first = g.add("Split", parts, g.constant(i64(2, 4)), outputs=["a", "b"], axis=1)
    g.add("Concat", "b", first, g.add("Constant", value_floats=[1.0]) and "b", output="y", axis=1)
    model, feed = g.model([("x0", FLOAT, ["b", 2, 3])], [("y", FLOAT, None)]), {"x0": _floats(2, 3)}
    expected = _expected(model, feed)
    for batch_size in (None, ROWS):
        np.testing.assert_allclose(lowered(model, feed, expected, batch_size), expected, atol=1e-6)


def _recurrent(kind: str, steps: int, **attributes: Any) -> tuple[Any, Arrays]:
    """A layer over a sequence of rows; `y` has the sequence and the last state."""
    g, directions = Graph(3), 2 if attributes.get("direction") == "bidirectional" else 1
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    w, r = g.weights(directions, gates * 5, 4), g.weights(directions, gates * 5, 5)
    b = g.weights(directions, 2 * gates * 5)
    x = g.add("Transpose", "x0", perm=[1, 0, 2])
    states = [g.add("Transpose", f"x{i}", perm=[1, 0, 2]) for i in (1, 2)[: 2 if kind == "LSTM" else 1]]
    peephole = [g.weights(directions, 15)] if attributes.pop("peephole", False) else []
    given = ["sequence", "last"]
    g.add(kind, x, w, r, b, "", *states, *peephole, outputs=given, hidden_size=5, **attributes)
    sequence = g.add("Flatten", g.add("Transpose", "sequence", perm=[2, 0, 1, 3]))
    g.add("Concat", sequence, g.add("Flatten", g.add("Transpose", "last", perm=[1, 0, 2])), output="y", axis=1)
    state = [("x1", FLOAT, ["b", directions, 5]), ("x2", FLOAT, ["b", directions, 5])][: len(states)]
    inputs: list[Any] = [("x0", FLOAT, ["b", steps, 4]), *state]
    feed = {"x0": _floats(steps, 4), "x1": _floats(directions, 5), "x2": _floats(directions, 5)}
    return g.model(inputs, [("y", FLOAT, None)]), {name: feed[name] for name, _, _ in inputs}


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LSTM", {}),
        ("LSTM", {"peephole": True}),
        ("LSTM", {"direction": "bidirectional"}),
        ("GRU", {}),
        ("GRU", {"linear_before_reset": 1, "direction": "reverse"}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_recurrent_layer_gives_what_onnxruntime_gives(kind: str, attributes: dict[str, Any], steps: int) -> None:
    """For one step, as policies have it, and for a history of several."""
    model, feed = _recurrent(kind, steps, **attributes)
    expected = _expected(model, feed)
    np.testing.assert_allclose(lowered(model, feed, expected), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rows", "constants", "attributes", "sentence"),
    [
        ("NonZero", [_floats(4)], [], {}, "has no lowering for NonZero, which /NonZero_0 is made of"),
        ("ArgMax", [_floats(4)], [], {"select_last_index": 1}, "has no lowering for ArgMax with the last of equal"),
        (
            "MaxPool",
            [IMAGE],
            [],
            {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            "sizes that are rounded up",
        ),
        ("Reshape", [_floats(4), _whole(2)], [], {}, "cannot take Reshape, which /Reshape_0 is made of"),
        ("Cast", [_floats(4)], [], {"to": 8}, "has no lowering for Cast with"),
    ],
)
def test_what_cannot_be_lowered_is_named(
    kind: str, rows: list[AnyArray], constants: list[Any], attributes: dict[str, Any], sentence: str
) -> None:
    """The operator and its node, and which formats to leave out."""
    model, feed = _model(kind, rows, constants, attributes)
    with pytest.raises(ExportRefused) as refusal:
        lowered(model, feed, _floats(4))
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith("; leave the formats of TFLite out of --formats.")
