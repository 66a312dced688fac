"""What a policy's numbers stand for, in C: a constant for each named element and each choice, with its unit.

In:      the manifest's `meaning`, the function's signature.
Out:     enumerations for `policy.h`, and the control period; nothing where nobody has said it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.meaning import TensorMeaning
from rlway_export.formats.c.comments import comment
from rlway_export.formats.c.signature import CSignature, Parameter


def meaning_lines(manifest: Manifest, signature: CSignature) -> list[str]:
    """Lines of C for the header."""
    meaning = manifest.meaning
    if meaning is None:
        return []
    lines = []
    if meaning.control_period_s is not None:
        lines += [
            "/* The time between two steps of the training, in seconds. */",
            f"#define RLWAY_CONTROL_PERIOD_S {meaning.control_period_s!r}",
        ]
    taken = {parameter.macro for parameter in signature.tensors}
    for parameter in signature.tensors:
        meant = meaning.tensors.get(parameter.spec.name)
        if meant is not None:
            lines += _enumeration(parameter, meant, taken)
    return lines


def _enumeration(parameter: Parameter, meant: TensorMeaning, taken: set[str]) -> list[str]:
    """The constants of one tensor; `taken` are names that are in use."""
    if meant.choices:
        first = int(parameter.spec.bounds()[0].ravel()[0])
        title, names, start = f"Values of {parameter.name}{_about(meant, None)}.", meant.choices, first
    elif meant.names:
        title, names, start = f"Places in {parameter.name}{_about(meant, None)}.", meant.names, 0
    else:
        about = _about(meant, None)
        return [f"/* {parameter.name}{about}. */"] if about else []
    rows = []
    for i, name in enumerate(names):
        constant = f"RLWAY_{parameter.name}_{name}".upper()
        while constant in taken:
            constant += "_"
        taken.add(constant)
        comma, about = "," if i < len(names) - 1 else "", _about(meant, i)
        rows.append(f"    {constant} = {start + i}{comma}{f' /* {about} */' if about else ''}")
    return [f"/* {title} */", "enum {", *rows, "};"]


def _about(meant: TensorMeaning, element: int | None) -> str:
    """Kind and unit of one element; or for None what all elements share, with the frame."""
    words = [_word(part, element) for part in (meant.kinds, meant.units)]
    if element is not None:
        return comment(", ".join(word for word in words if word))
    frame = f"in the frame {meant.frame}" if meant.frame else ""
    shared = ", ".join(word for word in (*words, frame) if word)
    return comment(f": {shared}") if shared else ""


def _word(words: str | Sequence[str] | None, element: int | None) -> str:
    if isinstance(words, str):
        return words if element is None else ""
    return words[element] if words and element is not None else ""
