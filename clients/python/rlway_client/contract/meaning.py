"""What the numbers of a policy stand for: names, units, kinds and frames of the elements, and the control period.

In:      the manifest's `meaning`, as an environment or a file gave it.
Out:     `Meaning`.
Refuses: a meaning that does not fit the policy's tensors (ValueError), a file that cannot be read (UsageError).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from rlway_client.common.quote import named, reason
from rlway_client.contract.errors import UsageError
from rlway_client.contract.specs import TensorSpec

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
            raise ValueError(f"tensors: expected names of the policy ({named([*known])}), got {name[:TEXT]!r}")
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
