"""The guard of a bundle in C: `rlway_guard`, which decides as servers and `EdgePolicy` do, to the bit.

In:      the guard; the action's parameters.
Out:     `CGuard`: the function, its prototype and macros, and what the header says of it.
Refuses: limits beyond 32 bits, which an action in C does not have (ExportRefused).

A product that is added at once could be rounded only once: compilers for machines with a fused multiply-add do so. The
product is therefore written to a volatile variable first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.guard import NON_FINITE, OUT_OF_RANGE, TOO_FAST, ActionLimits, Guard, elements, is_limited
from rlway_export.formats.c.constants import literals
from rlway_export.formats.c.signature import Parameter
from rlway_export.formats.c.views import loop

BITS = {OUT_OF_RANGE: 1, TOO_FAST: 2, NON_FINITE: 4}
REFUSED = 8
LEAST, MOST = -(2**31), 2**31 - 1  # whole numbers of 32 bits
NO_CHANGE_LIMIT = 2**32  # no two of them differ by as much
ABOUT = """\
The guard, called with each action that the policy gives:

    violated = rlway_guard(previous, elapsed_s, action)

changes the action where it violates a limit, and returns the rules that it violated, 0 if none:
{rules}
and RLWAY_REFUSED besides, if the action must not be used. `previous` is what the guard made of the action before, or
NULL where an episode begins; it must not be `action` itself. `elapsed_s` is how many seconds ago that was."""


class CGuard(NamedTuple):
    """The guard of one policy."""

    guard: Guard
    actions: Sequence[Parameter]

    def prototype(self) -> str:
        """The function's prototype, without the semicolon."""
        before = [f"const {action.kind} *{_before(action)}" for action in self.actions]
        given = [f"{action.kind} *{action.name}" for action in self.actions]
        return f"int RLWAY_GUARD({', '.join([*before, 'double elapsed_s', *given])})"

    def macros(self) -> str:
        """The bits of the result, and the function's name."""
        bits = "".join(f"#define RLWAY_{rule.upper()} {bit}\n" for rule, bit in BITS.items())
        return (
            f"\n{bits}#define RLWAY_REFUSED {REFUSED}\n\n#ifndef RLWAY_GUARD\n#define RLWAY_GUARD rlway_guard\n#endif\n"
        )

    def about(self) -> str:
        """What the header says."""
        rules = [f"    RLWAY_{rule.upper():<13} {self.guard.reactions[rule]}" for rule in BITS]
        return ABOUT.format(rules="\n".join(rules))

    def function(self) -> str:
        """The function's source."""
        body = ["int violated = 0;", *self._preparation()]
        for action in self.actions:
            body += self._checks(action)
        body += [*self._reaction(), "return violated;"]
        words = set(re.findall(r"\w+", "\n".join(body)))
        given = [*map(_before, self.actions), "elapsed_s", *(action.name for action in self.actions)]
        unused = [name for name in given if name not in words]
        lines = [*(f"(void){name};" for name in unused), *body]
        fast = "#ifdef __FAST_MATH__\n#error rlway_guard looks for NaN: compile this file without -ffast-math\n#endif\n"
        return f"{fast}\n{self.prototype()}\n{{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"

    def _preparation(self) -> list[str]:
        lines = []
        if self.guard.limits_changes or "hold" in self.guard.reactions.values():
            lines.append(f"const int known = {' && '.join(f'{_before(action)} != NULL' for action in self.actions)};")
        if any(is_limited(self._limits(action).change_per_second) for action in self.actions):
            lines.append("/* A clock that jumps counts as no time. */")
            lines.append("const double passed_s = isfinite(elapsed_s) && elapsed_s > 0.0 ? elapsed_s : 0.0;")
        return lines

    def _limits(self, action: Parameter) -> ActionLimits:
        return self.guard.actions.get(action.spec.name, ActionLimits())

    def _checks(self, action: Parameter) -> list[str]:
        limits = TensorText(action, self._limits(action))
        if not limits.checks:
            return []
        body = [f"{limits.kind} x = {action.name}[i];", *limits.checks, f"{action.name}[i] = {limits.cast('x')};"]
        return ["{", *(f"    {line}" for line in (*limits.arrays, *loop("i", action.spec.size, body))), "}"]

    def _reaction(self) -> list[str]:
        """What is done where a rule is violated whose reaction is not to clamp; the strictest comes first."""
        lines = []
        refuse, safe, hold = (self._mask(reaction) for reaction in ("refuse", "safe", "hold"))
        if refuse:
            lines += [f"if ((violated & ({refuse})) != 0) {{", "    return violated | RLWAY_REFUSED;", "}"]
        if safe:
            lines += [f"if ((violated & ({safe})) != 0) {{", *self._give_safe(), "    return violated;", "}"]
        if hold:
            lines += [f"if ((violated & ({hold})) != 0 && known) {{", *self._give_before()]
            lines += [f"}} else if ((violated & ({hold})) != 0) {{", *self._give_safe(), "}"]
        return lines

    def _mask(self, reaction: str) -> str:
        return " | ".join(f"RLWAY_{rule.upper()}" for rule in BITS if self.guard.reactions[rule] == reaction)

    def _give_safe(self) -> list[str]:
        lines = []
        for action in self.actions:
            given = elements(self._limits(action).safe, action.spec)
            safe = Numbers(f"safe_{action.name}", action.kind, given, action.spec.numpy_dtype)
            lines += [*safe.declaration, *loop("i", action.spec.size, [f"{action.name}[i] = {safe.element};"])]
        return [f"    {line}" for line in lines]

    def _give_before(self) -> list[str]:
        lines = []
        for action in self.actions:
            lines += loop("i", action.spec.size, [f"{action.name}[i] = {_before(action)}[i];"])
        return [f"    {line}" for line in lines]


class Numbers:
    """One number for each element of an action: a constant where all are alike, otherwise an array."""

    def __init__(self, name: str, kind: str, numbers: Sequence[Any], dtype: np.dtype[Any]) -> None:
        texts = literals(np.array(numbers, dtype)) if dtype.kind == "f" else [_whole(number) for number in numbers]
        alike = len(set(texts)) == 1
        self.element = texts[0] if alike else f"{name}[i]"
        self.declaration = [] if alike else [f"static const {kind} {name}[{len(texts)}] = {{{', '.join(texts)}}};"]


class TensorText:
    """The checks of one element `x` of a tensor."""

    def __init__(self, action: Parameter, limits: ActionLimits) -> None:
        self._action, self._limits = action, limits
        self._is_real = action.spec.numpy_dtype.kind == "f"
        self.kind = action.kind if self._is_real else "int64_t"
        self.arrays: list[str] = []
        self.checks: list[str] = []
        if self._is_real:
            self.checks += ["if (!isfinite(x)) {", "    violated |= RLWAY_NON_FINITE;", "}"]
        self._check_range()
        self._check_change()

    def cast(self, value: str) -> str:
        return value if self._is_real else f"({self._action.kind}){value}"

    def _check_range(self) -> None:
        lines: list[str] = []
        for name, sign, none in (("minimum", "<", -np.inf), ("maximum", ">", np.inf)):
            if self._given(name):
                limit = self._numbers(name, none if self._is_real else LEAST if none < 0 else MOST)
                word = "} else if" if lines else "if"
                lines += [f"{word} (x {sign} {limit}) {{", f"    x = {limit};", "    violated |= RLWAY_OUT_OF_RANGE;"]
        self.checks += [*lines, "}"] if lines else []

    def _check_change(self) -> None:
        has_step, has_rate = self._given("change_per_step"), self._given("change_per_second")
        if not has_step and not has_rate:
            return
        none = np.inf if self._is_real else NO_CHANGE_LIMIT
        step = self._numbers("change_per_step", none) if has_step else "INFINITY" if self._is_real else str(none)
        before = f"{_before(self._action)}[i]"
        lines = [f"{self.kind} change = {step};"]
        if has_rate:
            kind = self.kind if self._is_real else "double"
            rate = self._numbers("change_per_second", np.inf)
            time = "(float)passed_s" if kind == "float" else "passed_s"
            # Without a limit the rate is infinite, and 0 s times that is NaN, which is not below the change.
            lines.append(f"volatile {kind} product = {rate} * {time};")
            reach = "product" if self._is_real else "floor(product)"
            lines += [f"const {kind} reach = {reach};", f"if (reach < {'' if self._is_real else '(double)'}change) {{"]
            lines += [f"    change = {'reach' if self._is_real else '(int64_t)reach'};", "}"]
        for name, sign in (("lowest", "-"), ("highest", "+")):
            lines.append(f"const {self.kind} {name} = {before} {sign} change;")
        for word, sign, name in (("if", "<", "lowest"), ("} else if", ">", "highest")):
            lines += [f"{word} (x {sign} {name}) {{", f"    x = {name};", "    violated |= RLWAY_TOO_FAST;"]
        self.checks += ["if (known) {", *(f"    {line}" for line in (*lines, "}")), "}"]

    def _given(self, name: str) -> bool:
        return is_limited(getattr(self._limits, name))

    def _numbers(self, name: str, none: float) -> str:
        fractional = name == "change_per_second"
        given = elements(getattr(self._limits, name), self._action.spec, fractional=fractional)
        is_whole = not self._is_real and not fractional
        dtype = np.dtype(np.int64) if is_whole else np.dtype(np.float64) if not self._is_real else self._dtype
        kind = "int64_t" if is_whole else "double" if not self._is_real else self.kind
        if name == "change_per_step" and is_whole:
            given = [None if number is None else min(number, NO_CHANGE_LIMIT) for number in given]
        numbers = Numbers(name, kind, [none if number is None else number for number in given], dtype)
        self.arrays += numbers.declaration
        return numbers.element

    @property
    def _dtype(self) -> np.dtype[Any]:
        return self._action.spec.numpy_dtype


def _before(action: Parameter) -> str:
    return f"previous_{action.name}"


def _whole(number: Any) -> str:
    if not LEAST <= number <= MOST and number != NO_CHANGE_LIMIT:
        raise ExportRefused(f"C: the guard's limit {number} is beyond 32 bits, so it cannot be written as source.")
    return str(int(number))
