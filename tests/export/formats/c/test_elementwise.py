"""Operators in C that make each element from one element of each input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_graphs import (
    DOUBLE,
    FLOAT,
    LONG,
    MANIFEST,
    WHOLE,
    Graph,
    check,
    flags,
    numbers,
    unary,
    whole,
    within_one,
)
from tests.export.formats.c.c_policies import model, node

GRAPHS: dict[str, Graph] = {
    **{kind: unary(kind) for kind in ("Atan", "Ceil", "Cos", "Erf", "Round", "Sign", "Sin")},
    **{kind: unary(kind) for kind in ("Asinh", "Celu", "ThresholdedRelu")},
    **{kind: within_one(kind) for kind in ("Acos", "Asin", "Cosh", "Sinh", "Tan")},
    "Atanh": (
        [node("Sin", "observation", out="s"), node("Mul", "s", "h", out="x"), node("Atanh", "x")],
        {"h": numbers(0.9, dtype=np.float32)},
    ),
    "Acosh": within_one("Acosh", shift=2.5),
    "a steep Celu": unary("Celu", alpha=3.0),
    "a high threshold": unary("ThresholdedRelu", alpha=2.0),
    "halves": (
        [node("Floor", "observation", out="f"), node("Add", "f", "half", out="h"), node("Round", "h")],
        {"half": numbers(0.5, dtype=np.float32)},
    ),
    "Mod of real numbers": ([node("Mod", "observation", "d", fmod=1)], {"d": numbers(1.5, dtype=np.float32)}),
    "a whole power": ([node("Pow", "observation", "three")], {"three": numbers(3, dtype=np.int32)}),
    "whole Abs": whole("Abs"),
    "whole Neg": whole("Neg"),
    "whole Sign": whole("Sign"),
    "whole Div": whole("Div", "d", d=numbers(3, -2, 1, 2, -5, 7, dtype=np.int32)),
    "whole Mod": whole("Mod", "d", d=numbers(3, -2, 1, 2, -5, 7, dtype=np.int32)),
    "truncated Mod": (
        [
            node("Cast", "observation", out="w", to=WHOLE),
            node("Mod", "w", "d", out="y", fmod=1),
            node("Cast", "y", to=FLOAT),
        ],
        {"d": numbers(3, -2, 1, 2, -5, 7, dtype=np.int32)},
    ),
    "whole Relu by Max": whole("Max", "d", d=numbers(0, dtype=np.int32)),
    "64 bits": (
        [node("Cast", "observation", out="w", to=LONG), node("Mul", "w", "d", out="y"), node("Cast", "y", to=FLOAT)],
        {"d": numbers(-7)},
    ),
    "Xor": flags(node("Xor", "p", "q", out="f")),
    "equal flags": flags(node("Equal", "p", "q", out="f")),
    "a choice of whole numbers": (
        [
            node("Cast", "observation", out="w", to=LONG),
            node("Less", "w", "zero", out="b"),
            node("Where", "b", "zero", "w", out="y"),
            node("Cast", "y", to=FLOAT),
        ],
        {"zero": numbers(0)},
    ),
    "what is finite": (
        [
            node("Log", "observation", out="x"),  # NaN below 0
            node("IsNaN", "x", out="n"),
            node("Div", "one", "zeros", out="d"),
            node("Mul", "observation", "d", out="i"),
            node("IsInf", "i", out="f"),
            node("Or", "n", "f", out="o"),
            node("Not", "o", out="g"),
            node("Where", "g", "x", "one"),
        ],
        {"one": numbers(1, dtype=np.float32), "zeros": numbers(1, 0, 1, 1, 0, 1, dtype=np.float32)},
    ),
    "infinite bounds": (
        [
            node("Less", "observation", "zero", out="b"),
            node("Where", "b", "mask", "observation", out="x"),
            node("Softmax", "x", axis=1),
        ],
        {"zero": np.zeros(1, np.float32), "mask": numbers(-np.inf, dtype=np.float32)},
    ),
    "computed bounds": (
        [node("ReduceMin", "noise", out="low", axes=[0, 1], keepdims=0), node("Clip", "observation", "low", "high")],
        {"high": np.array(1.5, np.float32)},
    ),
    "Clip from above": ([node("Clip", "observation", "", "high")], {"high": np.array(0.5, np.float32)}),
    "whole Clip": (
        [
            node("Cast", "observation", out="w", to=LONG),
            node("Clip", "w", "low", "high", out="y"),
            node("Cast", "y", to=FLOAT),
        ],
        {"low": np.array(-1), "high": np.array(2)},
    ),
    "OneHot": (
        [
            node("Cast", "observation", out="w", to=LONG),
            node("Slice", "w", "from", "to", "axes", out="s"),
            node("OneHot", "s", "six", "values", out="h", axis=1),
            node("Squeeze", "h", "last"),
        ],
        {
            "from": np.array([0]),
            "to": np.array([1]),
            "axes": np.array([1]),
            "six": np.array(6),
            "last": np.array([2]),
            "values": numbers(-1, 2, dtype=np.float32),
        },
    ),
    "a mixture of normals": (  # as TFP draws from one: its log-probability, too
        [
            helper.make_node("Split", ["observation"], ["loc", "log_scale"], axis=1),
            helper.make_node("Split", ["noise"], ["n", "rest"], axis=1),
            node("Softplus", "log_scale", out="scale"),
            node("Mul", "scale", "n", out="spread"),
            node("Add", "loc", "spread", out="raw"),
            node("Tanh", "raw", out="squashed"),
            node("Mul", "n", "n", out="n2"),
            node("Log", "scale", out="ls"),
            node("Sub", "n2", "ls", out="lp"),
            node("Concat", "squashed", "lp", axis=1),
        ],
        {},
    ),
    "numbers of 64 bits": (
        [
            node("Cast", "observation", out="x", to=DOUBLE),
            node("Exp", "x", out="e"),
            node("Add", "e", "tiny", out="a"),
            node("Sub", "a", "e", out="s"),  # lost in 32 bits
            node("MatMul", "s", "m", out="p"),
            node("LogSoftmax", "p", axis=1, out="l"),
            node("LeakyRelu", "l", alpha=0.3, out="k"),
            node("Cast", "k", to=FLOAT),
        ],
        {"tiny": np.linspace(1e-9, 5e-9, 6), "m": 1e9 * np.eye(6)},
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_operator_of_elements_gives_what_onnxruntime_gives(graph: str, tmp_path: Path) -> None:
    """To a few parts in a million; the source compiles without a warning."""
    check(GRAPHS[graph], tmp_path)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (whole("Pow", "two", two=numbers(2, dtype=np.int32)), "the operator Pow .* with values of int32"),
        (([node("IsInf", "observation", out="i", detect_negative=0), node("Cast", "i", to=FLOAT)], {}), "of one sign"),
    ],
)
def test_what_cannot_be_written_is_named(graph: Graph, says: str, tmp_path: Path) -> None:
    """The sentence has the operator and what is wrong; nothing is written."""
    with pytest.raises(ExportRefused, match=says):
        write_c(model(*graph, MANIFEST), MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())
