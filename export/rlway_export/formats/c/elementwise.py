"""Operators that make each element of their output from one element of each input.

In:      an operation, the body that it is written into.
Out:     one loop, in place where an input is not read again.
Refuses: a type that there is no formula for, an unexpected number of inputs (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.constants import literals, number
from rlway_export.formats.c.formulas import ALPHA, TRUNCATED_MOD, find_formula
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View


def elementwise(operation: Operation, body: Body) -> None:
    """Any of `ELEMENTWISE`."""
    dtypes = [body.network.dtypes[name] for name in operation.inputs]
    formula = find_formula(operation.kind, dtypes)
    if formula is None:
        raise refusal(operation, f"values of {', '.join(sorted(set(dtypes)))}")
    if operation.kind == "Mod" and operation.attributes.get("fmod", 0) and "%" in formula:
        formula = TRUNCATED_MOD
    if len(operation.inputs) != sum(f"{{{letter}}}" in formula for letter in "xyz"):
        raise refusal(operation, f"{len(operation.inputs)} inputs")
    if operation.kind == "IsInf" and not all(operation.attributes.get(f"detect_{one}", 1) for one in SIGNS):
        raise refusal(operation, "infinity of one sign")
    alpha = number(operation.attributes.get("alpha", ALPHA.get(operation.kind, 0.0)), dtypes[0])
    suffix = "" if dtypes[0] == "float64" else "f"
    fill(operation, body, lambda *xyz: formula.format(**dict(zip("xyz", xyz, strict=False)), alpha=alpha, f=suffix))


SIGNS = ("negative", "positive")


def cast(operation: Operation, body: Body) -> None:
    """Cast: another type; no copy where C has one type for both."""
    source, out = operation.inputs[0], operation.outputs[0]
    kind = body.type_of(out)
    if kind == body.type_of(source) and body.network.dtypes[out] != "bool":
        body.give(out, body.view(source))
    elif body.network.dtypes[out] == "bool":
        fill(operation, body, "{} != 0".format)
    else:
        fill(operation, body, f"({kind}){{}}".format)


def clip(operation: Operation, body: Body) -> None:
    """Clip: between two bounds, either of which may be missing, and any of which may be computed."""
    named = [(name, sign) for name, sign in zip(operation.inputs[1:], "<>", strict=False) if name]

    def formula(x: str, *bounds: str) -> str:
        text = x
        for bound, (_, sign) in reversed(list(zip(bounds, named, strict=True))):
            text = f"{x} {sign} {bound} ? {bound} : {text}"
        return text

    fill(operation._replace(inputs=(operation.inputs[0], *(name for name, _ in named))), body, formula)


def one_hot(operation: Operation, body: Body) -> None:
    """OneHot: one value at the place of an index along a new axis, and another everywhere else."""
    indices, depth, values = operation.inputs
    out, places = operation.outputs[0], body.constant(depth, operation)
    shape = body.network.shapes[out]
    axis = operation.attributes.get("axis", -1) % len(shape)
    index = body.view(indices)
    n = int(places.item())
    wide = index._replace(
        shape=(*index.shape[:axis], 1, *index.shape[axis:]), strides=(*index.strides[:axis], 0, *index.strides[axis:])
    )
    place = View.whole(
        body.add_constant(np.arange(n, dtype=np.int32)), [n if i == axis else 1 for i in range(len(shape))]
    )
    off, on = (body.view(values).slice(0, slice(i, i + 1)) for i in range(2))
    views = [body.make(out), *(view.broadcast(shape) for view in (wide, place, off, on))]
    body.each(views, lambda to, i, k, off, on: f"{to} = {i} == {k} || {i} + {n} == {k} ? {on} : {off};")


def fill(operation: Operation, body: Body, formula: Callable[..., str]) -> None:
    """Writes the operation's one output, from an expression of its inputs' elements."""
    shape = body.network.shapes[operation.outputs[0]]
    operands = [_operand(name, body) for name in operation.inputs]
    views = [operand.broadcast(shape) for operand in operands if isinstance(operand, View)]

    def statement(to: str, *elements: str) -> str:
        waiting = iter(elements)
        return f"{to} = {formula(*(next(waiting) if isinstance(o, View) else o for o in operands))};"

    body.each([_target(operation, body), *views], statement)


def _operand(name: str, body: Body) -> View | str:
    constant = body.network.constants.get(name)
    return literals(constant)[0] if constant is not None and constant.size == 1 else body.view(name)


def _target(operation: Operation, body: Body) -> View:
    """Room for the output: in place of an input that is read last here, so that a layer takes one array, not three."""
    out = operation.outputs[0]
    alike = [name for name in operation.inputs if body.network.shapes[name] == body.network.shapes[out]]
    for name in alike:
        if body.is_last_read(name) and body.type_of(name) == body.type_of(out):
            view = body.view(name)
            body.give(out, view)
            return view
    dense = [body.view(name) for name in alike if name not in body.network.constants and body.view(name).is_dense]
    return body.like(out, dense[0]) if dense else body.make(out)
