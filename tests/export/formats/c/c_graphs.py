"""Graphs of a few operators over six numbers, for the tests of the C writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.export.formats.c.c_policies import answers, draw, make_manifest, model, node

ROWS = 60
FLOAT, DOUBLE, WHOLE, LONG = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64
SQUARE = {"square": np.array([-1, 2, 3])}
SIX = (6,)
MANIFEST = make_manifest(
    observation=[TensorSpec("observation", SIX, "float32")],
    noise=TensorSpec("noise", SIX, "float32"),
    action=TensorSpec("action", SIX, "float32"),
)
Constants = dict[str, AnyArray]
Graph = tuple[list[Any], Constants]


def numbers(*values: float, dtype: Any = np.int64) -> AnyArray:
    return np.array(values, dtype)


def unary(kind: str, first: str = "observation", **attributes: Any) -> Graph:
    return [node(kind, first, **attributes)], {}


def within_one(kind: str, *, shift: float = 0.0) -> Graph:
    """An operator of numbers from −1 to 1, or as much further as it is shifted."""
    nodes = [node("Sin", "observation", out="small"), node("Add", "small", "shift", out="x"), node(kind, "x")]
    return nodes, {"shift": np.array(shift, np.float32)}


def whole(kind: str, *more: str, **constants: AnyArray) -> Graph:
    """An operator of whole numbers, some of them negative."""
    cast, back = node("Cast", "observation", out="w", to=WHOLE), node("Cast", "y", to=FLOAT)
    return [cast, node(kind, "w", *more, out="y"), back], constants


def flags(*nodes: Any, **constants: AnyArray) -> Graph:
    """Nodes from two rows of flags, p and q, to another, f."""
    made = [node("Greater", "observation", "zero", out="p"), node("Less", "observation", "noise", out="q")]
    return [*made, *nodes, node("Cast", "f", to=FLOAT)], {"zero": np.zeros(1, np.float32)} | constants


def of_square(*nodes: Any, **constants: AnyArray) -> Graph:
    """Nodes from a square [2, 3], y, to six numbers in any shape, z."""
    flat = node("Reshape", "z", "flat")
    return [node("Reshape", "observation", "square", out="y"), *nodes, flat], {
        "flat": np.array([-1, 6]),
        **SQUARE,
        **constants,
    }


def reduced(kind: str, *axes: int, keep: int = 0, **more: Any) -> Graph:
    """A reduction of a square, whose result is repeated."""
    by_input = kind == "ReduceSum"
    given = {} if by_input else {"axes": list(axes)}
    inputs = ("y", "axes") if by_input else ("y",)
    constants = {"axes": np.array(axes)} if by_input else {}
    size = {1: 3, 2: 2}[axes[0]] if len(axes) == 1 else 1
    wide = node("Expand", "m", "wide", out="e")
    nodes = [
        node(kind, *inputs, out="r1", keepdims=keep, **given, **more),
        node("Reshape", "r1", "column", out="m"),
        wide,
    ]
    nodes.append(node("Identity", "e", out="z"))
    constants |= {"column": np.array([-1, 1, size]), "wide": np.array([1, 6 // size, size])}
    return of_square(*nodes, **constants)


def check(graph: Graph, folder: Path) -> None:
    """Compares the compiled source with onnxruntime, to a few parts in a million, NaN included."""
    expected, found = answers(model(*graph, MANIFEST), MANIFEST, rows(MANIFEST), folder)
    assert not np.isnan(expected["action"]).all()
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-6)


def rows(manifest: Manifest) -> Arrays:
    """Random rows, the first of zeros."""
    generator = np.random.default_rng(0)
    assert manifest.noise is not None
    found = {spec.name: draw(spec, ROWS, generator) for spec in (*manifest.observation, manifest.noise)}
    return {name: np.concatenate([np.zeros_like(values[:1]), values]) for name, values in found.items()}
