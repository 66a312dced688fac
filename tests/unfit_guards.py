"""Guards that do not fit the specs of an action, and what the error's sentence says of each."""

from __future__ import annotations

from typing import Any

from rlway_client.contract.specs import TensorSpec

REAL = [TensorSpec("action", (2,), "float32", -2, [2, 3])]
WHOLE = [TensorSpec("action", (), "int64", 0, 3)]
FLAG = [TensorSpec("action_on", (), "bool", path=("on",)), TensorSpec("action_to", (), "uint64", path=("to",))]


def of(limits: dict[str, Any], name: str = "action", **rules: Any) -> dict[str, Any]:
    return {"schema_version": 1, "actions": {name: limits}} | rules


UNFIT: list[tuple[list[TensorSpec], Any, str]] = [
    (REAL, b"{", "guard.json: not JSON: "),
    (REAL, b"\xff", "guard.json: not JSON: "),
    (REAL, b"[" * 100_000, "guard.json: not JSON: "),
    (REAL, [], "expected a guard of schema_version 1, got None; docs/guard.md shows one."),
    (REAL, {"schema_version": 2}, "expected a guard of schema_version 1, got 2; docs/guard.md shows one."),
    (REAL, {"schema_version": True}, "expected a guard of schema_version 1, got True; docs/guard.md shows one."),
    (REAL, {"schema_version": 1}, "guard.json: Object missing required field `actions`."),
    (REAL, of({"max": 1}), "unknown field `max`"),
    (REAL, of({"safe": 0}, non_finite="clamp"), "Invalid enum value 'clamp' - at `$.non_finite`."),
    (REAL, of({"safe": 0}, "act"), "actions: expected names of the policy's action tensors (action), got 'act'."),
    (REAL, of({"minimum": float("nan")}), "actions.action.minimum: expected finite float32, got NaN."),
    (REAL, of({"maximum": [1, float("inf")]}), "maximum[1]: expected finite float32, got Infinity."),
    (REAL, of({"maximum": 10**400}), "maximum: expected finite float32, got a number of 401 digits."),
    (
        REAL,
        of({"maximum": True}),
        "Expected `int | float | array | null`, got `bool` - at `$.actions[...].maximum`.",
    ),
    (REAL, of({"safe": False}), "actions.action.safe: expected float32, got false."),
    (REAL, of({"minimum": [1]}), "minimum: expected one number, or 2 for float32[2], got 1."),
    (REAL, of({"maximum": 1}), "actions.action.safe: expected an action, which non_finite: hold needs, got none."),
    (
        REAL,
        of({}, out_of_range="safe", non_finite="refuse"),
        "an action, which out_of_range: safe needs, got none.",
    ),
    (REAL, of({"safe": 1.5, "maximum": 1}), "safe[0]: expected -2 to 1, within the limits and the policy's bounds"),
    (
        REAL,
        of({"safe": [2, 3.5]}),
        "safe[1]: expected -2 to 3, within the limits and the policy's bounds, got 3.5.",
    ),
    (REAL, of({"minimum": 1, "maximum": 0, "safe": 1}), "minimum[0]: expected at most 0, the maximum, got 1."),
    (
        REAL,
        of({"minimum": -3, "safe": 0}),
        "minimum[0]: expected -2 to 2, the policy's bounds, got -3: never acts.",
    ),
    (
        REAL,
        of({"maximum": 2.5, "safe": 0}),
        "maximum[0]: expected -2 to 2, the policy's bounds, got 2.5: never acts.",
    ),
    (REAL, of({"minimum": [0, 4], "safe": 0}), "minimum[1]: expected -2 to 3, the policy's bounds, got 4: refuses"),
    (REAL, of({"maximum": -9, "safe": 0}), "the policy's bounds, got -9: refuses every action."),
    (REAL, of({"change_per_step": 0, "safe": 0}), "change_per_step[0]: expected a change above 0, got 0."),
    (REAL, of({"change_per_second": -1, "safe": 0}), "change_per_second[0]: expected a change above 0, got -1."),
    (REAL, of({"change_per_step": 1e-60, "safe": 0}), "change_per_step[0]: expected a change above 0, got 0."),
    (REAL, of({"change_per_step": 4.5, "safe": 0}), "expected at most 4, as wide as the policy's bounds, got 4.5"),
    (WHOLE, of({"maximum": 1.5, "safe": 0}), "maximum: expected a whole number, as the action is int64, got 1.5."),
    (WHOLE, of({"safe": 0.5}), "actions.action.safe: expected a whole number, as the action is int64, got 0.5."),
    (WHOLE, of({"maximum": 2**70, "safe": 0}), "got 1180591620717411303424: never acts."),
    (
        FLAG,
        of({"minimum": 0}, "action_on", non_finite="refuse"),
        "expected only `safe`, since an action of bool has no",
    ),
    (
        FLAG,
        of({"maximum": 9}, "action_to", non_finite="refuse"),
        "since an action of uint64 has no limits, got limits.",
    ),
    (FLAG, of({"safe": 1}, "action_on"), "actions.action_on.safe: expected true or false, got 1."),
    (FLAG, of({"safe": True}, "action_on"), "actions.action_to.safe: expected an action, which non_finite: hold"),
]
