"""The guard of a bundle: limits between the policy and the motors, and what happens where an action violates one.

In:      `guard.json`; the specs of the policy's action.
Out:     `Guard`, whose limits fit the specs.
Refuses: what is not JSON or of another schema, unknown tensors, limits that can never act, that exclude every action,
         or that contradict one another; a missing `safe` (BundleInvalid, or the error that the caller names).

`guarding.py` applies it. The C source of an export applies it likewise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from rlway_client.common import quote
from rlway_client.contract.errors import BundleInvalid, RlwayError
from rlway_client.contract.specs import TensorSpec, describe, is_finite

FILE = "guard.json"
GUARD_SCHEMA: Final = 1
OUT_OF_RANGE, TOO_FAST, NON_FINITE = RULES = ("out_of_range", "too_fast", "non_finite")
REACTIONS = ("clamp", "hold", "safe", "refuse")  # the strictest last
GIVEN = ("hold", "safe")  # these may give the safe action
LIMITS = ("minimum", "maximum", "change_per_step", "change_per_second")
UNLIMITED = ("bool", "uint64")  # a flag has no order, and the arithmetic of whole numbers is that of int64

Reaction = Literal["clamp", "hold", "safe", "refuse"]
Number = int | float
Limit = Number | list[Number | None] | None  # one for all elements, or one per element in row-major order; None: none
Violations = dict[str, list[str]]  # the rules that an action violates, by action tensor
Safe = bool | Number | list[bool | Number] | None


NO_VIOLATIONS: Violations = {}


class ActionLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The limits of one action tensor, and its part of the safe action."""

    minimum: Limit = None
    maximum: Limit = None
    change_per_step: Limit = None  # from one action of an episode to the next
    change_per_second: Limit = None
    safe: Safe = None


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`guard.json`: limits by the name of the action tensor, and the reaction to each rule that an action violates."""

    schema_version: Literal[1]
    actions: dict[str, ActionLimits]
    out_of_range: Reaction = "clamp"
    too_fast: Reaction = "clamp"
    non_finite: Literal["hold", "safe", "refuse"] = "hold"  # NaN cannot be clamped

    @property
    def reactions(self) -> dict[str, str]:
        """The reaction to each rule, in the order of `RULES`."""
        return {rule: getattr(self, rule) for rule in RULES}

    @property
    def limits_changes(self) -> bool:
        """Whether a limit depends on the action before, so that every action has to be part of an episode."""
        return any(
            is_limited(one.change_per_step) or is_limited(one.change_per_second) for one in self.actions.values()
        )

    @property
    def needs_safe(self) -> bool:
        """Whether a reaction gives the safe action: `hold` does where there is no action before."""
        return any(reaction in GIVEN for reaction in self.reactions.values())


def read_guard(path: Path, actions: Sequence[TensorSpec] | None, refusal: type[RlwayError] = BundleInvalid) -> Guard:
    """The guard in a file, held against the specs if these are known yet. Raises `refusal`, with one sentence."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusal(f"{path}: cannot be read: {error.strerror}.") from None
    return decode_guard(content, str(path), actions, refusal)


def decode_guard(
    content: bytes, where: str, actions: Sequence[TensorSpec] | None, refusal: type[RlwayError] = BundleInvalid
) -> Guard:
    """As `read_guard`; `where` names the place of the content in error messages."""
    try:
        raw = json.loads(content)  # Python's takes NaN, so that the sentence about one can say where it is
    except (ValueError, RecursionError) as error:
        raise refusal(f"{where}: not JSON: {quote.reason(str(error))}.") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int or version != GUARD_SCHEMA:
        raise refusal(
            f"{where}: expected a guard of schema_version {GUARD_SCHEMA}, got {quote.clipped(repr(version))}; "
            "docs/guard.md shows one."
        )
    try:
        guard = msgspec.convert(raw, Guard)
        if actions is not None:
            check_guard(guard, actions)
    except msgspec.ValidationError as error:
        raise refusal(f"{where}: {quote.reason(str(error), 200)}.") from None
    except ValueError as error:
        raise refusal(f"{where}: {error}.") from None
    return guard


def encode_guard(guard: Guard) -> bytes:
    """The guard as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(guard), indent=2) + b"\n"


def check_guard(guard: Guard, actions: Sequence[TensorSpec]) -> None:
    """Raises ValueError unless every limit fits the specs of the policy's action."""
    specs = {spec.name: spec for spec in actions}
    for name in guard.actions:
        if name not in specs:
            raise ValueError(
                f"actions: expected names of the policy's action tensors ({quote.named([*specs])}), "
                f"got {quote.clipped(name)!r}"
            )
    for spec in actions:
        _check_limits(guard.actions.get(spec.name, ActionLimits()), spec, _place(spec))
    missing = next((spec for spec in actions if _has_no_safe(guard, spec)), None)
    if missing is not None and guard.needs_safe:
        needs = next(f"{rule}: {reaction}" for rule, reaction in guard.reactions.items() if reaction in GIVEN)
        raise ValueError(f"{_place(missing)}.safe: expected an action, which {needs} needs, got none")


def _place(spec: TensorSpec) -> str:
    return f"actions.{quote.short_name(spec.name)}"


def _has_no_safe(guard: Guard, spec: TensorSpec) -> bool:
    return spec.name not in guard.actions or guard.actions[spec.name].safe is None


def _check_limits(limits: ActionLimits, spec: TensorSpec, where: str) -> None:
    given = {name: getattr(limits, name) for name in LIMITS}
    if spec.dtype in UNLIMITED and any(limit is not None for limit in given.values()):
        raise ValueError(f"{where}: expected only `safe`, since an action of {spec.dtype} has no limits, got limits")
    limit = {name: elements(one, spec, f"{where}.{name}", name == "change_per_second") for name, one in given.items()}
    safe = elements(limits.safe, spec, f"{where}.safe")
    for i, (least, most) in enumerate(zip(*spec_bounds(spec), strict=True)):
        place = f"[{i}]" if spec.size > 1 else ""
        low, high = limit["minimum"][i], limit["maximum"][i]
        _check_range(low, high, least, most, where, place)
        for name in ("change_per_step", "change_per_second"):
            change = limit[name][i]
            if change is not None and change <= 0:
                raise ValueError(f"{where}.{name}{place}: expected a change above 0, got {describe(change)}")
        step = limit["change_per_step"][i]
        if step is not None and step > most - least:
            width = f"at most {describe(most - least)}, as wide as the policy's bounds"
            raise ValueError(f"{where}.change_per_step{place}: expected {width}, got {describe(step)}: never acts")
        lowest, highest = least if low is None else low, most if high is None else high
        if safe[i] is not None and not lowest <= safe[i] <= highest:
            expected = f"{describe(lowest)} to {describe(highest)}, within the limits and the policy's bounds"
            raise ValueError(f"{where}.safe{place}: expected {expected}, got {describe(safe[i])}")


def _check_range(low: Any, high: Any, least: Any, most: Any, where: str, place: str) -> None:
    """Checks one element's limits `low` and `high` against the spec's bounds `least` and `most`."""
    for name, limit, acts in (
        ("minimum", low, low is None or low >= least),
        ("maximum", high, high is None or high <= most),
    ):
        if limit is not None and not least <= limit <= most:
            expected = f"{describe(least)} to {describe(most)}, the policy's bounds"
            why = "refuses every action" if acts else "never acts"
            raise ValueError(f"{where}.{name}{place}: expected {expected}, got {describe(limit)}: {why}")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{where}.minimum{place}: expected at most {describe(high)}, the maximum, got {describe(low)}")


def elements(given: Limit | Safe, spec: TensorSpec, where: str = "", fractional: bool = False) -> list[Any]:
    """One number per element, in the tensor's dtype; None where there is none. Raises ValueError for what does not fit.

    `fractional`: a limit of whole numbers that may be a fraction itself.
    """
    if isinstance(given, list) and len(given) != spec.size:
        raise ValueError(f"{where}: expected one number, or {spec.size} for {spec.label}, got {len(given)}")
    listed = given if isinstance(given, list) else [given]
    places = [f"{where}[{i}]" for i in range(len(listed))] if isinstance(given, list) else [where]
    dtype = np.dtype(np.float64) if fractional and spec.is_discrete else spec.numpy_dtype
    rounded = [_round(value, dtype, place) for value, place in zip(listed, places, strict=True)]
    return rounded if isinstance(given, list) else rounded * spec.size


def _round(value: Any, dtype: np.dtype[Any], where: str) -> Any:
    if value is None:
        return None
    if (dtype.kind == "b") != isinstance(value, bool):
        raise ValueError(
            f"{where}: expected {'true or false' if dtype.kind == 'b' else dtype.name}, got {describe(value)}"
        )
    if dtype.kind == "b":
        return value
    if not is_finite(value, dtype if dtype.kind == "f" else np.dtype(np.float64)):
        raise ValueError(f"{where}: expected finite {dtype.name}, got {describe(value)}")
    if dtype.kind == "f":
        return dtype.type(float(value)).item()
    if value != int(value):
        raise ValueError(f"{where}: expected a whole number, as the action is {dtype.name}, got {describe(value)}")
    return int(value)


def spec_bounds(spec: TensorSpec) -> tuple[list[Any], list[Any]]:
    """The lowest and the highest value of each element of an action, in its dtype."""
    dtype, (low, high) = spec.numpy_dtype, spec.bounds()
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return low.ravel().astype(dtype).tolist(), high.ravel().astype(dtype).tolist()
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return (
        [least if math.isinf(bound) else max(least, int(bound)) for bound in low.ravel()],
        [most if math.isinf(bound) else min(most, int(bound)) for bound in high.ravel()],
    )


def is_limited(given: Limit) -> bool:
    """Whether it limits any element."""
    return any(number is not None for number in given) if isinstance(given, list) else given is not None
