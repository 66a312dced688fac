"""ONNX operators in C: one function each, from an operation to the statements that compute it.

In:      an operation, the sizes of what it reads, the C expressions under which its arrays are known.
Out:     lines of C99, floats throughout.
Refuses: an operator, or a use of one, that is not written here (ExportRefused names it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rlway_client.errors import ExportRefused
from rlway_client.specs import AnyArray
from rlway_export.network import Network, Operation

# x and y are elements. Comparisons, because fmaxf is a call without -ffast-math; written so that NaN stays NaN.
UNARY = {
    "Abs": "fabsf({x})",
    "Elu": "{x} < 0.0f ? {alpha} * (expf({x}) - 1.0f) : {x}",
    "Exp": "expf({x})",
    "LeakyRelu": "{x} < 0.0f ? {alpha} * {x} : {x}",
    "Log": "logf({x})",
    "Neg": "-{x}",
    "Reciprocal": "1.0f / {x}",
    "Relu": "{x} < 0.0f ? 0.0f : {x}",
    "Sigmoid": "1.0f / (1.0f + expf(-{x}))",
    "Softplus": "{x} > 0.0f ? {x} + log1pf(expf(-{x})) : log1pf(expf({x}))",
    "Sqrt": "sqrtf({x})",
    "Tanh": "tanhf({x})",
}
BINARY = {
    "Add": "{x} + {y}",
    "Div": "{x} / {y}",
    "Max": "{x} < {y} ? {y} : {x}",
    "Min": "{x} > {y} ? {y} : {x}",
    "Mul": "{x} * {y}",
    "Sub": "{x} - {y}",
}
ALPHA = {"Elu": 1.0, "LeakyRelu": 0.01}  # ONNX's defaults
ALIASES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")  # the same numbers in the same order


class Scope(NamedTuple):
    """What an operator may ask about the values around it."""

    network: Network
    array: Callable[[str], str]  # a value's name in C

    def element(self, name: str, of: Operation) -> str:
        """A value's element `i` beside the operation's output: repeated, if it is smaller."""
        size, whole = self.network.size(name), self.network.size(of.outputs[0])
        if size == whole:
            return f"{self.array(name)}[i]"
        if size == 1:
            return f"{self.array(name)}[0]"
        shape = self._shape(name)
        if shape == self._shape(of.outputs[0])[-len(shape) :]:
            return f"{self.array(name)}[i % {size}]"
        raise refusal(of, f"an array of {list(shape)} beside one of {list(self._shape(of.outputs[0]))}")

    def constant(self, name: str, of: Operation) -> AnyArray:
        """The value of what must be known now."""
        if name not in self.network.constants:
            raise refusal(of, "an argument that is computed")
        return self.network.constants[name]

    def _shape(self, name: str) -> tuple[int, ...]:
        """Without leading ones, which repeat nothing."""
        constants = self.network.constants
        shape = constants[name].shape if name in constants else self.network.shapes[name]
        first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
        return tuple(shape[first:])


def refusal(operation: Operation, what: str) -> ExportRefused:
    """The error for what cannot be written."""
    return ExportRefused(
        f"C: the operator {operation.kind} ({operation.name}) with {what} cannot be written as C source; "
        f"leave c out of --formats."
    )


def number(value: float) -> str:
    """A float32 as a C constant that reads back as itself: the shortest decimal that does."""
    text = np.format_float_scientific(np.float32(value), trim="0", exp_digits=1)
    plain = np.format_float_positional(np.float32(value), trim="0")
    return (plain if len(plain) <= len(text) + 1 else text) + "f"


def write_operation(operation: Operation, scope: Scope) -> list[str]:
    """The statements that compute the operation's outputs."""
    if operation.kind in UNARY or operation.kind in BINARY:
        return _elementwise(operation, scope)
    if operation.kind not in WRITERS:
        known = ", ".join(sorted([*UNARY, *BINARY, *WRITERS, *ALIASES]))
        raise ExportRefused(
            f"C: the operator {operation.kind} ({operation.name}) cannot be written as C source; "
            f"expected only {known}; leave c out of --formats."
        )
    return WRITERS[operation.kind](operation, scope)


def _elementwise(operation: Operation, scope: Scope) -> list[str]:
    out = operation.outputs[0]
    if operation.kind in UNARY:
        if len(operation.inputs) != 1:
            raise refusal(operation, f"{len(operation.inputs)} inputs")
        alpha = number(operation.attributes.get("alpha", ALPHA.get(operation.kind, 0.0)))
        value = UNARY[operation.kind].format(x=scope.element(operation.inputs[0], operation), alpha=alpha)
    else:
        if len(operation.inputs) != 2:
            raise refusal(operation, f"{len(operation.inputs)} inputs")
        x, y = (scope.element(name, operation) for name in operation.inputs)
        value = BINARY[operation.kind].format(x=x, y=y)
    return _loop(scope.network.size(out), f"{scope.array(out)}[i] = {value};")


def _loop(size: int, statement: str, index: str = "i") -> list[str]:
    return [f"for ({index} = 0; {index} < {size}; {index}++) {{", f"    {statement}", "}"]


def _matmul(operation: Operation, scope: Scope) -> list[str]:
    x, weights = operation.inputs[:2]
    kernel = scope.constant(weights, operation)
    if kernel.ndim != 2 or scope.network.size(x) != kernel.shape[0]:
        raise refusal(operation, f"weights of {list(kernel.shape)} for {scope.network.size(x)} inputs")
    bias = scope.array(operation.inputs[2]) if len(operation.inputs) > 2 else "NULL"
    if bias != "NULL" and scope.network.size(operation.inputs[2]) != kernel.shape[1]:
        raise refusal(operation, "a bias of another size")
    arguments = (scope.array(x), kernel.shape[0], scope.array(weights), bias, kernel.shape[1])
    return [f"dense({', '.join(map(str, arguments))}, {scope.array(operation.outputs[0])});"]


def _gemm(operation: Operation, scope: Scope) -> list[str]:
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    if any(operation.attributes.get(name, value) != value for name, value in plain.items()):
        raise refusal(operation, "factors or transposed matrices")
    return _matmul(operation, scope)


def _clip(operation: Operation, scope: Scope) -> list[str]:
    x, out = scope.element(operation.inputs[0], operation), scope.array(operation.outputs[0])
    statements = [f"{out}[i] = {x};"]
    for name, sign in zip(operation.inputs[1:], "<>", strict=False):
        if name:
            bound = number(scope.constant(name, operation).item())
            statements.append(f"{out}[i] = {out}[i] {sign} {bound} ? {bound} : {out}[i];")
    return _loop(scope.network.size(operation.outputs[0]), "\n    ".join(statements))


def _split(operation: Operation, scope: Scope) -> list[str]:
    _last_axis(operation, scope, operation.attributes.get("axis", 0))
    lines, start = [], 0
    for out in operation.outputs:
        size = scope.network.size(out)
        lines += _loop(size, f"{scope.array(out)}[i] = {scope.array(operation.inputs[0])}[{start} + i];")
        start += size
    return lines


def _concat(operation: Operation, scope: Scope) -> list[str]:
    _last_axis(operation, scope, operation.attributes["axis"])
    lines, start = [], 0
    for name in operation.inputs:
        size = scope.network.size(name)
        lines += _loop(size, f"{scope.array(operation.outputs[0])}[{start} + i] = {scope.array(name)}[i];")
        start += size
    return lines


def _argmax(operation: Operation, scope: Scope) -> list[str]:
    _last_axis(operation, scope, operation.attributes.get("axis", 0))
    if operation.attributes.get("select_last_index", 0):
        raise refusal(operation, "the last of equal elements")
    x, out = scope.array(operation.inputs[0]), scope.array(operation.outputs[0])
    body = f"if ({x}[i] > {x}[{out}[0]]) {{\n        {out}[0] = i;\n    }}"
    return [f"{out}[0] = 0;", *_loop(scope.network.size(operation.inputs[0]), body)]


def _last_axis(operation: Operation, scope: Scope, axis: int) -> None:
    """Only rows that lie one behind the other: with a batch of one, all but the last axis must be 1."""
    shape = scope.network.shapes[operation.inputs[0]]
    if axis % len(shape) != len(shape) - 1 or any(n != 1 for n in shape[:-1]):
        raise refusal(operation, f"axis {axis} of {list(shape)}")


WRITERS: dict[str, Callable[[Operation, Scope], list[str]]] = {
    "ArgMax": _argmax,
    "Clip": _clip,
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Split": _split,
}
