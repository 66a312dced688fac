"""What the names of tensors say of a policy, where they are the usual ones.

In:      a file, or a function, whose tensors have names.
Out:     `Recipe`: the roles that the names suggest; empty where they suggest none.

What a float output means cannot be told from a graph: where no name says it, the user has to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from rlway_export.reference.roles import Meaning, StatePart
from rlway_export.sources.tensor_file import FileTensor, TensorFile

OBSERVATION = re.compile(r"(obs|observation|observations)(_?\d+)?|obs_.+|observation_.+", re.IGNORECASE)
MEANING_OF: dict[str, Meaning] = {
    **dict.fromkeys(("action", "actions", "continuous_actions", "discrete_actions"), "action"),
    **dict.fromkeys(("mean", "mu", "action_mean", "actions_mean"), "mean"),
    **dict.fromkeys(("q_values", "qvalues", "q", "q_value"), "q_values"),
    **dict.fromkeys(("logits", "action_logits", "policy_logits"), "logits"),
}


class Recipe(NamedTuple):
    """Roles by name, as far as the form tells them."""

    title: str
    observation: Sequence[str] = ()
    action: Sequence[str] = ()
    meaning: Sequence[Meaning] = ()
    state: Sequence[StatePart] = ()
    fixed: Mapping[str, float] = MappingProxyType({})


def usual_names(file: TensorFile) -> Recipe:
    """The form of a file that no library is known by."""
    inputs, outputs = names_of(file.inputs), names_of(file.outputs)
    pairs = [(name, name.removesuffix("_in") + "_out") for name in inputs if name.endswith("_in")]
    state = state_pairs(file, [*pairs, *((name, f"next_{name}") for name in inputs)])
    left = [name for name in inputs if name not in {part.taken for part in state}]
    observation = left if len(left) == 1 or all(map(OBSERVATION.fullmatch, left)) else []
    given = [name for name in outputs if name not in {part.given for part in state}]
    known = [name for name in given if name.lower() in MEANING_OF]
    action = given if len(given) == 1 else known[:1]
    return Recipe("its names suggest", observation, action, [], state)


def meaning_of(tensor: FileTensor) -> Meaning | Literal[""]:
    """What an output means by its name; a whole number can only be the action itself."""
    is_whole = tensor.dtype.startswith(("int", "uint"))
    return MEANING_OF.get(tensor.name.lower(), "action" if is_whole else "")


def names_of(tensors: list[FileTensor]) -> list[str]:
    """Their names, in order."""
    return [tensor.name for tensor in tensors]


def state_pairs(file: TensorFile, names: list[tuple[str, str]]) -> list[StatePart]:
    """The pairs of an input and an output that the file has."""
    inputs, outputs = ({one.name: one for one in side} for side in (file.inputs, file.outputs))
    return [StatePart(taken, given) for taken, given in names if taken in inputs and given in outputs]
