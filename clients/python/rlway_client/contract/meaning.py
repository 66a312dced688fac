"""What the numbers of a policy stand for: names, units, kinds and frames of the elements, and the control period.

In:      the manifest's `meaning`, as an environment or a file gave it; an observation whose values have names.
Out:     the observation with each value in its element's place.
Refuses: a meaning that does not fit the policy's tensors (ValueError); names that are missing or not known
         (SpecViolated, by their path).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.common.quote import reason
from rlway_client.contract.errors import SpecViolated, UsageError
from rlway_client.contract.specs import MAX_FAULTS, Fault, TensorSpec

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # so that it can be an identifier in C
TEXT = 64  # characters of a unit, a kind or a frame

Text = Annotated[str, Meta(min_length=1, max_length=TEXT)]
Names = dict[str, list[str]]  # of the elements, in row-major order, by tensor


class TensorMeaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of one tensor. A list has one word per element, in row-major order; a single word holds for all of them.

    names:    of the elements, such as `cart_velocity`.
    choices:  of a discrete action that is one number: a name for each value, from the smallest on.
    units:    such as `m/s`; SI is recommended.
    kinds:    such as `position`, `velocity`, `force`.
    frame:    the coordinate frame, such as `base_link`.
    """

    names: list[str] = []
    choices: list[str] = []
    units: Text | list[Text] | None = None
    kinds: Text | list[Text] | None = None
    frame: Text | None = None


class Meaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of a policy. `control_period_s` is the time between two steps of its training, in seconds."""

    control_period_s: Annotated[float, Meta(gt=0)] | None = None
    tensors: dict[str, TensorMeaning] = {}  # by the tensors' names

    @property
    def names(self) -> Names:
        """The tensors whose elements have names."""
        return {name: [*meant.names] for name, meant in self.tensors.items() if meant.names}


def read_meaning(path: Path) -> Meaning:
    """The meaning in a file. Raises UsageError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Meaning)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{path}: expected JSON with `tensors` and `control_period_s`, got what cannot be read: {reason(error)}."
        ) from None


def check_meaning(meaning: Meaning, specs: Iterable[TensorSpec], actions: Iterable[TensorSpec]) -> None:
    """Raises ValueError unless it fits the policy's tensors. `actions` are those of `specs` that are the action."""
    known, choosing = {spec.name: spec for spec in specs}, {spec.name: spec for spec in actions}
    period_s = meaning.control_period_s
    if period_s is not None and not 0 < period_s < math.inf:
        raise ValueError(f"control_period_s: expected seconds above 0, got {period_s:g}")
    for name, meant in meaning.tensors.items():
        if name not in known:
            raise ValueError(f"tensors: expected names of the policy ({_list(known)}), got {name[:TEXT]!r}")
        spec = known[name]
        for field in ("names", "units", "kinds"):
            words = getattr(meant, field)
            if isinstance(words, list) and words and len(words) != spec.size:
                raise ValueError(f"{name}.{field}: expected {spec.size}, one per element, got {len(words)}")
        _check_names(f"{name}.names", meant.names)
        _check_names(f"{name}.choices", meant.choices)
        if meant.choices:
            _check_choices(name, meant.choices, choosing.get(name))


def _check_choices(name: str, choices: list[str], action: TensorSpec | None) -> None:
    if action is None or not action.is_discrete or action.size != 1:
        raise ValueError(f"{name}.choices: expected none, since it is no discrete action of one number")
    low, high = (float(bound.ravel()[0]) for bound in action.bounds())
    if high - low + 1 != len(choices):
        raise ValueError(f"{name}.choices: expected {high - low + 1:g}, one per action, got {len(choices)}")


def _check_names(where: str, names: list[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{where}: expected letters, digits and '_', a letter first, got {name[:TEXT]!r}")
    alike = [name.upper() for name in names]
    twice = next((name for name in names if alike.count(name.upper()) > 1), None)
    if twice is not None:
        raise ValueError(f"{where}: expected each name once, whatever its case, got {twice!r} again")


def in_order(observation: Any, tree: Any, names: Names, where: str = "observation") -> Any:
    """The observation with lists in place of objects whose keys are the names of a tensor's elements.

    `tree` is the specs in the nesting of the observation. Other parts stay as they are. Raises SpecViolated.
    """
    if not isinstance(tree, TensorSpec):
        if not isinstance(observation, Mapping):
            return observation
        return {
            key: in_order(part, tree[key], names, f"{where}[{json.dumps(key)}]") if key in tree else part
            for key, part in observation.items()
        }
    if tree.name not in names or not isinstance(observation, Mapping):
        return observation
    elements = names[tree.name]
    faults = [
        Fault(f"{where}[{json.dumps(name)}]", tree.dtype, "nothing") for name in elements if name not in observation
    ]
    known = {*elements}
    faults += [
        Fault(f"{where}[{json.dumps(str(key)[:TEXT])}]", f"one of {_list(elements)}", "another name")
        for key in observation
        if key not in known
    ]
    if faults:
        raise SpecViolated(faults[:MAX_FAULTS])
    values = np.empty(len(elements), object)
    values[:] = [observation[name] for name in elements]
    return values.reshape(tree.shape).tolist() if tree.shape else values[0]


def _list(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"
