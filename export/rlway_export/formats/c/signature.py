"""The signature of the C function: its parameters, with their order, names and types.

In:      the manifest.
Out:     `CSignature`.
Refuses: tensors of a type that C source is not written for (ExportRefused).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_export.formats.c.formulas import MATH_NAMES

# Whole numbers in a policy are indices and flags: TensorFlow has them as int64, but their values fit 32 bits.
C_TYPES = {
    "bool": "uint8_t",
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int32_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
}
RESET = "reset"  # the model's input that is true where an episode begins, and the function's parameter
NEXT = "next_"  # the prefix of a state tensor's name among the model's outputs

# Names that a tensor cannot have in C, in C++ that includes the header, or within the function.
TAKEN = (
    set(
        re.findall(
            r"\w+",
            """
        alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const constexpr
        continue decltype default delete do double else enum explicit export extern false final float for friend goto if
        inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq override private protected
        public register requires restrict return short signed sizeof static struct switch template this throw true try
        typedef typename union unsigned using virtual void volatile wchar_t while xor xor_eq
        begins column main null row total
        neutral_discount neutral_noise neutral_reward neutral_step_type
        """,
        )
    )
    | MATH_NAMES
)
OURS = re.compile(r"[a-z]|(row|value|weights)_\d+|rlway_act|rlway_guard", re.IGNORECASE)


class Parameter(NamedTuple):
    """One tensor as the function takes it."""

    spec: TensorSpec
    name: str  # in C
    kind: str  # in C

    @property
    def macro(self) -> str:
        """The macro with its size."""
        return f"RLWAY_{self.name.upper()}_SIZE"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type in numpy."""
        return np.dtype({"float": "float32", "double": "float64"}.get(self.kind, self.kind.removesuffix("_t")))


class CSignature(NamedTuple):
    """All parameters, in their order; `reset` comes after the state."""

    observation: list[Parameter]
    noise: list[Parameter]  # one or none
    time_step: list[Parameter]
    state: list[Parameter]  # changed in place
    outputs: list[Parameter]  # the action first

    @classmethod
    def of(cls, manifest: Manifest) -> CSignature:
        noise = [manifest.noise] if manifest.noise else []
        outputs = [*manifest.actions, *manifest.outputs]
        groups = [manifest.observation, noise, manifest.time_step, manifest.state, outputs]
        specs = [spec for group in groups for spec in group]
        names = dict(zip((spec.name for spec in specs), _c_names(spec.name for spec in specs), strict=True))
        return cls(*([Parameter(spec, names[spec.name], _c_type(spec)) for spec in group] for group in groups))

    @property
    def tensors(self) -> list[Parameter]:
        return [*self.inputs, *self.state, *self.outputs]

    @property
    def inputs(self) -> list[Parameter]:
        """The parameters that are only read."""
        return [*self.observation, *self.optional]

    @property
    def optional(self) -> list[Parameter]:
        """The parameters that may be NULL."""
        return [*self.noise, *self.time_step]

    def prototype(self) -> str:
        """The function's prototype, without the semicolon."""
        parameters = [f"const {p.kind} *{p.name}" for p in self.inputs]
        parameters += [f"{p.kind} *{p.name}" for p in self.state]
        parameters += [f"int {RESET}"] if self.state else []
        parameters += [f"{p.kind} *{p.name}" for p in self.outputs]
        return f"void RLWAY_ACT({', '.join(parameters)})"


def _c_type(spec: TensorSpec) -> str:
    if spec.dtype not in C_TYPES:
        raise ExportRefused(
            f"C: {short_name(spec.name)}: expected one of {', '.join(C_TYPES)}, got {spec.dtype}; leave c out of "
            f"--formats."
        )
    return C_TYPES[spec.dtype]


def _c_names(names: Iterable[str]) -> list[str]:
    """Each name as C takes it, unique even in capitals, as macros have it."""
    found: list[str] = []
    known = {RESET}
    for name in names:
        word = re.sub(r"\W", "_", name, flags=re.ASCII)
        word = word if re.match(r"[A-Za-z]", word) else f"of_{word}"  # C reserves names with a leading _
        while word.lower() in TAKEN | known or OURS.fullmatch(word):
            word += "_"
        found.append(word)
        known.add(word.lower())
    return found
