"""Operators that reduce axes: sums, means, extremes, softmax, argmax; and running sums.

In:      an operation, the body that it is written into.
Out:     loops with the reduced axes innermost.
Refuses: axes that are computed, types that a reduction is not for (ExportRefused).
"""

from __future__ import annotations

from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.constants import number
from rlway_export.formats.c.formulas import REAL, WHOLE
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View, loop, nested_loops, sum_of, times

GREATER, SMALLER = "if ({1} > {0}) {{\n    {0} = {1};\n}}", "if ({1} < {0}) {{\n    {0} = {1};\n}}"
SUM = "{0} += {1};"
REDUCTIONS = {
    "ReduceL1": "{0} += {1} < 0 ? -{1} : {1};",
    "ReduceL2": "{0} += {1} * {1};",
    "ReduceLogSum": SUM,
    "ReduceLogSumExp": SUM,  # of exponentials
    "ReduceMax": GREATER,
    "ReduceMean": SUM,
    "ReduceMin": SMALLER,
    "ReduceProd": "{0} *= {1};",
    "ReduceSum": SUM,
    "ReduceSumSquare": "{0} += {1} * {1};",
}
AFTERWARDS = {"ReduceL2": "{0} = sqrt{f}({0});", "ReduceLogSum": "{0} = log{f}({0});", "ReduceMean": "{0} /= {count};"}
OF_WHOLE_NUMBERS = ("ReduceL1", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")


def reduce(operation: Operation, body: Body) -> None:
    """Any of `REDUCTIONS`, over axes that are an attribute or, in newer opsets, an input."""
    name, out = operation.inputs[0], operation.outputs[0]
    kind, dtype = operation.kind, body.network.dtypes[name]
    if dtype not in REAL and not (dtype in WHOLE and kind in OF_WHOLE_NUMBERS):
        raise refusal(operation, f"values of {dtype}")
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
    if kind == "ReduceLogSumExp":
        _log_sum_exp(body, narrow, view, body.type_of(name))
        return
    accumulate(body, kind, narrow, view)
    if kind in AFTERWARDS:
        count, f = number(view.size / narrow.size, dtype), "" if dtype == "float64" else "f"
        body.each([narrow], lambda to: AFTERWARDS[kind].format(to, count=count, f=f))


def accumulate(body: Body, kind: str, narrow: View, view: View) -> None:
    """Reduces a view along the axes that have size 1 in the narrow one."""
    if kind in ("ReduceMax", "ReduceMin"):
        first = view
        for axis, n in enumerate(narrow.shape):
            first = first.slice(axis, slice(0, n))
        body.copy(first, narrow)
    else:
        start = "1" if kind == "ReduceProd" else "0"
        body.each([narrow], lambda to: f"{to} = {start};")
    body.each([narrow.broadcast(view.shape), view], REDUCTIONS[kind].format)


def _log_sum_exp(body: Body, narrow: View, view: View, kind: str) -> None:
    """The largest element is subtracted first, so that nothing overflows; one that is infinite is not."""
    f = "" if kind == "double" else "f"
    most = body.scratch(kind, narrow.shape)
    accumulate(body, "ReduceMax", most, view)
    body.each([most], lambda to: f"if (isinf({to})) {{\n    {to} = 0;\n}}")
    body.each([narrow], lambda to: f"{to} = 0;")
    shifted = [narrow.broadcast(view.shape), view, most.broadcast(view.shape)]
    body.each(shifted, lambda to, x, largest: f"{to} += exp{f}({x} - {largest});")
    body.each([narrow, most], lambda to, largest: f"{to} = log{f}({to}) + {largest};")


def softmax(operation: Operation, body: Body) -> None:
    """Softmax and LogSoftmax; the largest element is subtracted first, so that nothing overflows."""
    view, result = body.view(operation.inputs[0]), body.make(operation.outputs[0])
    axis = operation.attributes.get("axis", -1) % len(view.shape)
    kind = body.type_of(operation.inputs[0])
    f = "" if kind == "double" else "f"
    narrow = body.scratch(kind, [1 if i == axis else n for i, n in enumerate(view.shape)])
    wide = narrow.broadcast(view.shape)
    accumulate(body, "ReduceMax", narrow, view)
    if operation.kind == "Softmax":
        body.each([result, view, wide], lambda to, x, most: f"{to} = exp{f}({x} - {most});")
        accumulate(body, "ReduceSum", narrow, result)
        body.each([result, wide], lambda to, total: f"{to} /= {total};")
    else:
        body.each([result, view, wide], lambda to, x, most: f"{to} = {x} - {most};")
        body.each([narrow], lambda to: f"{to} = 0;")
        body.each([wide, result], lambda total, x: f"{total} += exp{f}({x});")
        body.each([result, wide], lambda to, total: f"{to} -= log{f}({total});")


def best_place(operation: Operation, body: Body) -> None:
    """ArgMax and ArgMin: the first, or the last, of the best elements along one axis."""
    view = body.view(operation.inputs[0])
    axis = operation.attributes.get("axis", 0) % len(view.shape)
    sign = ">" if operation.kind == "ArgMax" else "<"
    better = sign + "=" * operation.attributes.get("select_last_index", 0)
    result = body.make(operation.outputs[0])
    narrow = View.whole(result.array, [1 if i == axis else n for i, n in enumerate(view.shape)])
    stride, n = view.strides[axis], view.shape[axis]
    first = view.slice(axis, slice(0, 1))

    def rows(positions: list[str]) -> list[str]:
        best = f"{narrow.array}[{positions[0]}]"
        element, largest = (f"{view.array}[{sum_of(positions[1], times(index, stride))}]" for index in ("a", best))
        return [f"{best} = 0;", *loop("a", n, [f"if ({element} {better} {largest}) {{", f"    {best} = a;", "}"])]

    body.lines += nested_loops([narrow, first], rows)


def cumulate(operation: Operation, body: Body) -> None:
    """CumSum: the sum of all elements up to each, along one axis; without itself, and from the end, if it says so."""
    view, out = body.view(operation.inputs[0]), operation.outputs[0]
    axis = int(body.constant(operation.inputs[1], operation).item()) % len(view.shape)
    result, kind = body.make(out), body.type_of(operation.inputs[0])
    ends = slice(None, None, -1 if operation.attributes.get("reverse", 0) else 1)
    ordered, target = view.slice(axis, ends), result.slice(axis, ends)
    firsts = [target.slice(axis, slice(0, 1)), ordered.slice(axis, slice(0, 1))]

    def rows(positions: list[str]) -> list[str]:
        places = zip((target, ordered), positions, strict=True)
        to, element = (f"{v.array}[{sum_of(at, times('a', v.strides[axis]))}]" for v, at in places)
        steps = [f"total += {element};", f"{to} = total;"]
        if operation.attributes.get("exclusive", 0):
            steps.reverse()
        return [f"{kind} total = 0;", *loop("a", view.shape[axis], steps)]

    body.lines += nested_loops(firsts, rows)
