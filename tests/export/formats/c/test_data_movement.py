"""Operators in C that move elements, pick them, and multiply matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_graphs import LONG, MANIFEST, Graph, check, of_square
from tests.export.formats.c.c_policies import model, node

GRAPHS: dict[str, Graph] = {
    "Gather of a table": of_square(
        node("Gather", "y", "places", out="g", axis=2),
        node("Slice", "g", "from", "to", "axes", out="z"),
        places=np.array([[2, -1, 0], [1, 1, -3]]),
        **{"from": np.array([0]), "to": np.array([1]), "axes": np.array([1])},
    ),
    "GatherElements": of_square(
        node("GatherElements", "y", "places", out="z", axis=2), places=np.array([[[2, -1, 0], [1, 1, -3]]])
    ),
    "GatherND": of_square(
        node("GatherND", "y", "places", out="z"),
        places=np.array([[0, 1, 2], [0, 0, 0], [0, -1, -2], [0, 1, 1], [0, 0, 2], [0, 1, 0]]),
    ),
    "GatherND of rows": of_square(node("GatherND", "y", "places", out="z"), places=np.array([[0, 1], [0, 0]])),
    "GatherND within the batch": of_square(
        node("GatherND", "y", "places", out="z", batch_dims=1), places=np.array([[[1], [0]]])
    ),
    "Tile": of_square(
        node("Slice", "y", "from", "to", "axes", out="s"),
        node("Tile", "s", "repeats", out="z"),
        repeats=np.array([1, 1, 3]),
        **{"from": np.array([0]), "to": np.array([1]), "axes": np.array([2])},
    ),
    "Pad": of_square(
        node("Slice", "y", "from", "to", "axes", out="s"),
        node("Pad", "s", "pads", "value", out="z"),
        pads=np.array([0, 0, 1, 0, 0, 1]),
        value=np.array(7, np.float32),
        **{"from": np.array([0]), "to": np.array([1]), "axes": np.array([2])},
    ),
    "a product of two": of_square(
        node("Transpose", "y", out="t", perm=[0, 2, 1]),
        node("MatMul", "y", "t", out="p"),
        node("MatMul", "p", "y", out="z"),
    ),
    "a weight for each row": of_square(
        node("MatMul", "each", "y", out="z"), each=np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_movement_gives_what_onnxruntime_gives(graph: str, tmp_path: Path) -> None:
    """To a few parts in a million; the source compiles without a warning."""
    check(GRAPHS[graph], tmp_path)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            (
                [
                    node("Cast", "observation", out="w", to=LONG),
                    node("Gather", "noise", "w", out="g", axis=1),
                    node("ReduceMax", "g", axes=[1], keepdims=0),
                ],
                {},
            ),
            r"the operator Gather \(Gather_g\) with an argument that is computed",
        ),
        (
            of_square(node("Pad", "y", "pads", out="z", mode="reflect"), pads=np.zeros(6, np.int64)),
            "anything but a constant",
        ),
        (
            of_square(
                node("Pad", "y", "pads", out="x"),
                node("Pad", "x", "back", out="z"),
                pads=np.array([0, 0, 1, 0, 0, 0]),
                back=np.array([0, 0, -1, 0, 0, 0]),
            ),
            "less than nothing",
        ),
    ],
)
def test_what_cannot_be_written_is_named(graph: Graph, says: str, tmp_path: Path) -> None:
    """The sentence has the operator and what is wrong; nothing is written."""
    with pytest.raises(ExportRefused, match=says):
        write_c(model(*graph, MANIFEST), MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())
