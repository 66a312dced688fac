"""Operators that reduce axes: sums, means, extremes, softmax, argmax.

In:      an operation, the body that it is written into.
Out:     loops with the reduced axes innermost.
Refuses: axes that are computed; the last of equal elements, where the first is not enough (ExportRefused).
"""

from __future__ import annotations

from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.constants import number
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View, loop, nested_loops, sum_of, times

GREATER, SMALLER = "if ({1} > {0}) {{\n    {0} = {1};\n}}", "if ({1} < {0}) {{\n    {0} = {1};\n}}"
REDUCTIONS = {"ReduceMax": GREATER, "ReduceMean": "{0} += {1};", "ReduceMin": SMALLER, "ReduceSum": "{0} += {1};"}


def reduce(operation: Operation, body: Body) -> None:
    """Any of `REDUCTIONS`, over axes that are an attribute or, in newer opsets, an input."""
    name, out = operation.inputs[0], operation.outputs[0]
    if body.network.dtypes[name] != "float32":
        raise refusal(operation, f"values of {body.network.dtypes[name]}")
    axes = operation.attributes.get("axes", [])
    if len(operation.inputs) > 1 and operation.inputs[1]:
        axes = [int(axis) for axis in body.constant(operation.inputs[1], operation)]
    view = body.view(name)
    rank = len(view.shape)
    reduced = {axis % rank for axis in axes}
    if not reduced and not operation.attributes.get("noop_with_empty_axes", 0):
        reduced = set(range(rank))
    kept = [1 if axis in reduced else n for axis, n in enumerate(view.shape)]
    result = body.make(out)
    narrow = View.whole(result.array, kept)
    accumulate(body, operation.kind, narrow, view)
    if operation.kind == "ReduceMean":
        count = number(view.size / narrow.size)
        body.each([narrow], lambda to: f"{to} /= {count};")


def accumulate(body: Body, kind: str, narrow: View, view: View) -> None:
    """Reduces a view along the axes that have size 1 in the narrow one."""
    if kind in ("ReduceMax", "ReduceMin"):
        first = view
        for axis, n in enumerate(narrow.shape):
            first = first.slice(axis, slice(0, n))
        body.copy(first, narrow)
    else:
        body.each([narrow], lambda to: f"{to} = 0.0f;")
    body.each([narrow.broadcast(view.shape), view], REDUCTIONS[kind].format)


def softmax(operation: Operation, body: Body) -> None:
    """Softmax and LogSoftmax; the largest element is subtracted first, so that nothing overflows."""
    view, result = body.view(operation.inputs[0]), body.make(operation.outputs[0])
    axis = operation.attributes.get("axis", -1) % len(view.shape)
    narrow = body.scratch("float", [1 if i == axis else n for i, n in enumerate(view.shape)])
    wide = narrow.broadcast(view.shape)
    accumulate(body, "ReduceMax", narrow, view)
    if operation.kind == "Softmax":
        body.each([result, view, wide], lambda to, x, most: f"{to} = expf({x} - {most});")
        accumulate(body, "ReduceSum", narrow, result)
        body.each([result, wide], lambda to, total: f"{to} /= {total};")
    else:
        body.each([result, view, wide], lambda to, x, most: f"{to} = {x} - {most};")
        body.each([narrow], lambda to: f"{to} = 0.0f;")
        body.each([wide, result], lambda total, x: f"{total} += expf({x});")
        body.each([result, wide], lambda to, total: f"{to} -= logf({total});")


def argmax(operation: Operation, body: Body) -> None:
    """The first of the largest along one axis."""
    if operation.attributes.get("select_last_index", 0):
        raise refusal(operation, "the last of equal elements")
    view = body.view(operation.inputs[0])
    axis = operation.attributes.get("axis", 0) % len(view.shape)
    result = body.make(operation.outputs[0])
    narrow = View.whole(result.array, [1 if i == axis else n for i, n in enumerate(view.shape)])
    stride, n = view.strides[axis], view.shape[axis]
    first = view.slice(axis, slice(0, 1))

    def rows(positions: list[str]) -> list[str]:
        best = f"{narrow.array}[{positions[0]}]"
        element, largest = (f"{view.array}[{sum_of(positions[1], times(index, stride))}]" for index in ("a", best))
        return [f"{best} = 0;", *loop("a", n, [f"if ({element} > {largest}) {{", f"    {best} = a;", "}"])]

    body.lines += nested_loops([narrow, first], rows)
