"""Operators in C that reduce axes, and running sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_graphs import FLOAT, MANIFEST, WHOLE, Graph, check, numbers, of_square, reduced
from tests.export.formats.c.c_policies import model, node

GRAPHS: dict[str, Graph] = {
    **{
        f"{kind} of {axes}": reduced(kind, *axes, keep=keep)
        for kind in (
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSumExp",
            "ReduceProd",
            "ReduceSumSquare",
            "ReduceSum",
            "ReduceMax",
        )
        for axes, keep in (((1,), 0), ((2,), 1), ((1, 2), 0))
    },
    "ReduceLogSum": of_square(
        node("Abs", "y", out="a"),
        node("ReduceLogSum", "a", out="s", axes=[2], keepdims=1),
        node("Expand", "s", "wide", out="z"),
        wide=np.array([1, 2, 3]),
    ),
    "a whole sum": of_square(
        node("Cast", "y", out="w", to=WHOLE),
        node("ReduceSum", "w", "last", out="s", keepdims=1),
        node("Add", "w", "s", out="x"),
        node("Cast", "x", out="z", to=FLOAT),
        last=numbers(2),
    ),
    **{
        f"{kind} along {axis}{', the last' * last}": of_square(
            node("Round", "y", out="t"),
            node(kind, "t", out="i", axis=axis, keepdims=1, select_last_index=last),
            node("Cast", "i", out="x", to=FLOAT),
            node("Expand", "x", "wide", out="z"),
            wide=np.array([1, 2, 3]),
        )
        for kind in ("ArgMax", "ArgMin")
        for axis in (1, 2, -1)
        for last in (0, 1)
    },
    **{
        f"CumSum along {axis}, {'from the end' * reverse} {'without itself' * exclusive}": of_square(
            node("CumSum", "y", "along", out="z", reverse=reverse, exclusive=exclusive), along=np.array(axis)
        )
        for axis in (1, 2, -1)
        for reverse in (0, 1)
        for exclusive in (0, 1)
    },
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_reduction_gives_what_onnxruntime_gives(graph: str, tmp_path: Path) -> None:
    """To a few parts in a million; the source compiles without a warning."""
    check(GRAPHS[graph], tmp_path)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            (
                of_square(
                    node("Greater", "y", "y", out="b"),
                    node("Cast", "b", out="w", to=WHOLE),
                    node("ReduceMean", "w", out="m", axes=[1], keepdims=1),
                    node("Add", "m", "w", out="s"),
                    node("Cast", "s", out="z", to=FLOAT),
                )
            ),
            "the operator ReduceMean .* with values of int32",
        ),
    ],
)
def test_what_cannot_be_written_is_named(graph: Graph, says: str, tmp_path: Path) -> None:
    """The sentence has the operator and what is wrong; nothing is written."""
    with pytest.raises(ExportRefused, match=says):
        write_c(model(*graph, MANIFEST), MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())
