"""Elements in C: the expression of each elementwise operator.

In:      ONNX's name of an operator, the types of its inputs.
Out:     a C expression of its elements {x}, {y} and {z}; the names of math.h in all of them.

Maximum and minimum are comparisons, because fmaxf is a function call without -ffast-math. They are written so that NaN
stays NaN. {f} is "f" for float, and empty for double. A whole number that is divided by zero gives zero: C leaves it
undefined.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

REAL = {"float32", "float64"}
WHOLE = {"int8", "int16", "int32", "int64", "uint8", "uint16"}
FLAG = {"bool"}

MATH = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "sin", "sinh", "sqrt", "tan")
REAL_FORMULAS = {
    **{name.capitalize(): f"{name}{{f}}({{x}})" for name in (*MATH, "tanh")},
    "Abs": "fabs{f}({x})",
    "Add": "{x} + {y}",
    "Ceil": "ceil{f}({x})",
    "Celu": "{x} < 0.0{f} ? {alpha} * (exp{f}({x} / {alpha}) - 1.0{f}) : {x}",
    "Div": "{x} / {y}",
    "Elu": "{x} < 0.0{f} ? {alpha} * (exp{f}({x}) - 1.0{f}) : {x}",
    "Floor": "floor{f}({x})",
    "IsInf": "isinf({x}) != 0",
    "IsNaN": "isnan({x}) != 0",
    "LeakyRelu": "{x} < 0.0{f} ? {alpha} * {x} : {x}",
    "Log": "log{f}({x})",
    "Max": "{x} < {y} ? {y} : {x}",
    "Min": "{x} > {y} ? {y} : {x}",
    "Mod": "fmod{f}({x}, {y})",
    "Mul": "{x} * {y}",
    "Neg": "-{x}",
    "Pow": "pow{f}({x}, {y})",
    "Reciprocal": "1.0{f} / {x}",
    "Relu": "{x} < 0.0{f} ? 0.0{f} : {x}",
    "Round": "rint{f}({x})",  # halves to the even number, as ONNX has it
    "Sigmoid": "1.0{f} / (1.0{f} + exp{f}(-{x}))",
    "Sign": "({x} > 0.0{f}) - ({x} < 0.0{f})",
    "Softplus": "{x} > 0.0{f} ? {x} + log1p{f}(exp{f}(-{x})) : log1p{f}(exp{f}({x}))",
    "Softsign": "{x} / (1.0{f} + fabs{f}({x}))",
    "Sub": "{x} - {y}",
    "ThresholdedRelu": "{x} > {alpha} ? {x} : 0.0{f}",
}
WHOLE_FORMULAS = {
    **{kind: REAL_FORMULAS[kind] for kind in ("Add", "Max", "Min", "Mul", "Neg", "Sub")},
    "Abs": "{x} < 0 ? -{x} : {x}",
    "Div": "{y} == 0 ? 0 : {x} / {y}",
    "Mod": "{y} == 0 ? 0 : ({x} % {y} + {y}) % {y}",  # with the divisor's sign
    "Relu": "{x} < 0 ? 0 : {x}",
    "Sign": "({x} > 0) - ({x} < 0)",
}
TRUNCATED_MOD = "{y} == 0 ? 0 : {x} % {y}"  # with the dividend's sign
FLAG_FORMULAS = {"And": "{x} && {y}", "Not": "!{x}", "Or": "{x} || {y}", "Xor": "{x} != {y}"}
COMPARISONS = {
    "Equal": "{x} == {y}",
    "Greater": "{x} > {y}",
    "GreaterOrEqual": "{x} >= {y}",
    "Less": "{x} < {y}",
    "LessOrEqual": "{x} <= {y}",
}
CHOICES = {"Where": "{x} ? {y} : {z}"}
ELEMENTWISE = {*REAL_FORMULAS, *WHOLE_FORMULAS, *FLAG_FORMULAS, *COMPARISONS, *CHOICES}
ALPHA = {"Celu": 1.0, "Elu": 1.0, "LeakyRelu": 0.01, "ThresholdedRelu": 1.0}  # ONNX's defaults

FUNCTIONS = set(re.findall(r"(\w+)\{f\}\(", " ".join(REAL_FORMULAS.values())))
MATH_NAMES = {*FUNCTIONS, *(f"{name}f" for name in FUNCTIONS), "infinity", "isinf", "isnan"}


def find_formula(kind: str, dtypes: Sequence[str]) -> str | None:
    """The operator's expression; None if there is none for these types."""
    decisive, given = set(dtypes[1:] if kind in CHOICES else dtypes[:1]), set(dtypes)
    if kind in CHOICES or kind in COMPARISONS:
        return (CHOICES | COMPARISONS)[kind] if given <= REAL | WHOLE | FLAG else None
    if given <= FLAG:
        return FLAG_FORMULAS.get(kind)
    if decisive <= REAL and (given <= REAL or kind == "Pow"):  # of a real number, also to a whole power
        return REAL_FORMULAS.get(kind)
    return WHOLE_FORMULAS.get(kind) if given <= WHOLE else None
