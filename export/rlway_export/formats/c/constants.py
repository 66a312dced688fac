"""Constants as C writes them.

In:      numbers, arrays.
Out:     literals that read back as the same numbers; declarations.
Refuses: whole numbers beyond 32 bits (ExportRefused).
"""

from __future__ import annotations

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import AnyArray

A_LINE = 100  # characters of numbers
INFINITE = {"inf": "INFINITY", "-inf": "-INFINITY"}  # of math.h


def number(value: float, dtype: str = "float32") -> str:
    """A real number as a C constant that reads back as itself: the shortest decimal that does."""
    return literals(np.array(value, "float64" if dtype == "float64" else "float32"))[0]


def literals(value: AnyArray) -> list[str]:
    """All elements, in row-major order."""
    if value.dtype.kind == "f":
        suffix = "" if value.dtype == np.float64 else "f"
        return [INFINITE.get(text) or f"{text}{suffix}" for text in value.ravel().astype(str)]
    whole = [int(element) for element in value.ravel()]
    if any(abs(element) > np.iinfo(np.int32).max for element in whole):
        raise ExportRefused("C: a constant is beyond 32 bits, so the policy cannot be written as source.")
    return list(map(str, whole))


def declaration(kind: str, name: str, value: AnyArray) -> str:
    """An array of constants, with lines of a readable length."""
    lines, line = [], "   "
    for text in literals(value):
        if len(line) + len(text) + 2 > A_LINE:
            lines.append(line)
            line = "   "
        line += f" {text},"
    shape = f"/* {list(value.shape)} */\n" if value.ndim else ""
    numbers = "\n".join([*lines, line])
    return f"{shape}static const {kind} {name}[{value.size}] = {{\n{numbers}\n}};\n"
