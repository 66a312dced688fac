"""Operators that make each element of their output from one element of each input.

In:      an operation, the body that it is written into.
Out:     one loop, in place where an input is not read again.
Refuses: a type that the formula is not for, an unexpected number of inputs (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable

from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.constants import literals, number
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View

# x, y and z are elements. Maximum and minimum are comparisons, because fmaxf is a function call without -ffast-math.
# They are written so that NaN stays NaN.
UNARY = {
    "Abs": "fabsf({x})",
    "Ceil": "ceilf({x})",
    "Elu": "{x} < 0.0f ? {alpha} * (expf({x}) - 1.0f) : {x}",
    "Exp": "expf({x})",
    "Floor": "floorf({x})",
    "LeakyRelu": "{x} < 0.0f ? {alpha} * {x} : {x}",
    "Log": "logf({x})",
    "Neg": "-{x}",
    "Reciprocal": "1.0f / {x}",
    "Relu": "{x} < 0.0f ? 0.0f : {x}",
    "Sigmoid": "1.0f / (1.0f + expf(-{x}))",
    "Softplus": "{x} > 0.0f ? {x} + log1pf(expf(-{x})) : log1pf(expf({x}))",
    "Softsign": "{x} / (1.0f + fabsf({x}))",
    "Sqrt": "sqrtf({x})",
    "Tanh": "tanhf({x})",
}
BINARY = {
    "Add": "{x} + {y}",
    "Div": "{x} / {y}",
    "Max": "{x} < {y} ? {y} : {x}",
    "Min": "{x} > {y} ? {y} : {x}",
    "Mul": "{x} * {y}",
    "Pow": "powf({x}, {y})",
    "Sub": "{x} - {y}",
}
COMPARISONS = {
    "Equal": "{x} == {y}",
    "Greater": "{x} > {y}",
    "GreaterOrEqual": "{x} >= {y}",
    "Less": "{x} < {y}",
    "LessOrEqual": "{x} <= {y}",
}
LOGIC = {"And": "{x} && {y}", "Not": "!{x}", "Or": "{x} || {y}"}
CHOICE = {"Where": "{x} ? {y} : {z}"}
FORMULAS = UNARY | BINARY | COMPARISONS | LOGIC | CHOICE
ALPHA = {"Elu": 1.0, "LeakyRelu": 0.01}  # ONNX's defaults

WHOLE = {"int32", "int64"}
OF_WHOLE_NUMBERS = ("Add", "Max", "Min", "Mul", "Sub")  # operators that are the same for whole numbers


def elementwise(operation: Operation, body: Body) -> None:
    """Any of `FORMULAS`."""
    formula = FORMULAS[operation.kind]
    if len(operation.inputs) != sum(f"{{{letter}}}" in formula for letter in "xyz"):
        raise refusal(operation, f"{len(operation.inputs)} inputs")
    other = {body.network.dtypes[name] for name in operation.inputs} - _domain(operation.kind)
    if other:
        raise refusal(operation, f"values of {', '.join(sorted(other))}")
    alpha = number(operation.attributes.get("alpha", ALPHA.get(operation.kind, 0.0)))
    fill(operation, body, lambda *xyz: formula.format(**dict(zip("xyz", xyz, strict=False)), alpha=alpha))


def _domain(kind: str) -> set[str]:
    if kind in LOGIC:
        return {"bool"}
    if kind in COMPARISONS or kind in CHOICE:
        return {"bool", "float32", *WHOLE}
    return {"float32", *WHOLE} if kind in OF_WHOLE_NUMBERS else {"float32"}


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
    """Clip: between two constants, either of which may be missing."""
    formula = "{x}"
    for name, sign in reversed(list(zip(operation.inputs[1:], "<>", strict=False))):
        if name:
            (bound,) = literals(body.constant(name, operation))
            formula = f"{{x}} {sign} {bound} ? {bound} : {formula}"
    fill(operation._replace(inputs=operation.inputs[:1]), body, lambda x: formula.format(x=x))


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
