"""The act message as a client writes and reads it.

In:      observations; then the server's answer.
Out:     request bodies; a `Reply`.
Refuses: observations that are not finite numbers (SpecViolated), or not rectangular arrays (Uneven), before anything
         is sent; an answer that reports an error, with that error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from rlway_client.contract.errors import RlwayError, SpecViolated, from_problem
from rlway_client.contract.exploration import Explore
from rlway_client.contract.guard import NO_VIOLATIONS, Guard, Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.nesting import Tree, arrange, arrange_action, arrange_batch, grow
from rlway_client.contract.specs import AnyArray, Fault, TensorSpec, at, describe
from rlway_client.remote.http import Answer

NO_POLICY_SERVER = "the server answered, but not as a policy server does; is the URL right?"


Source = Literal["server", "local", "hold", "fixed"]


class Reply(NamedTuple):
    """What a policy answered to one observation, or to several.

    action:   an int (one discrete number), or float32 or int64 of the action's shape; for several observations [B, …].
              A dict or a tuple of these, if the policy's action is one.
    version:  the version of the policy that answered.
    outputs:  the further outputs that were asked for, such as `q_values`, by name: float32[…], or [B, …]; int64 for
              whole numbers.
    guarded:  the rules of the policy's guard that the action violated, by action tensor, such as
              {"action": ["too_fast"]}; empty if it changed nothing. For several observations a list of these, or empty.
    source:   who answered, with a fallback: the `server`; the `local` policy; `hold`, the last action again; `fixed`,
              the action that was given as the fallback. With `hold` and `fixed` the version may be 0: of no policy.
    why:      why the server did not answer.
    """

    action: Any
    version: int
    outputs: dict[str, AnyArray]
    guarded: Violations | list[Violations] = NO_VIOLATIONS
    source: Source = "server"
    why: str | None = None


class Uneven(SpecViolated):
    """Parts of different shapes or kinds. They form no array, but a policy may observe them as several tensors."""


def encode_act(
    observations: Any,
    *,
    batched: bool,
    tree: Tree | None = None,
    explore: Explore | None = None,
    seed: int | None = None,
    outputs: tuple[str, ...] = (),
    version: int | None = None,
    label: str | None = None,
    deadline_ms: float | None = None,
    episode: str | None = None,
    first: bool = False,
    time_step: Mapping[str, Any] | None = None,
) -> bytes:
    """The JSON body of an act request. `tree` is what the policy observes, if that is known; tuples need it."""
    name = "observations" if batched else "observation"
    observations = arrange_batch(observations, tree) if batched else arrange(observations, tree)
    wired = _split(observations, name) if batched and isinstance(observations, Mapping) else _wire(observations, name)
    options = {"explore": explore, "seed": seed, "version": version, "label": label, "deadline_ms": deadline_ms}
    body = {name: wired} | {key: value for key, value in options.items() if value is not None}
    if episode is not None:
        body["episode"] = episode
    if first:
        body["first"] = True
    if outputs:
        body["outputs"] = outputs
    if time_step is not None:
        body["time_step"] = {part: _wire(value, f"time_step.{part}") for part, value in time_step.items()}
    return msgspec.json.encode(body)


def _wire(value: Any, where: str) -> Any:
    """One observation, or several, for JSON: nested lists, or an object of them."""
    if isinstance(value, Mapping):
        return {str(key): _wire(part, at(where, str(key))) for key, part in value.items()}
    if isinstance(value, Sequence) and any(isinstance(part, Mapping) for part in value):
        return [_wire(part, f"{where}[{i}]") for i, part in enumerate(value)]
    try:
        array = np.asarray(value)
    except ValueError:
        raise Uneven([Fault(where, "an array of numbers", "rows of different lengths")]) from None
    if array.dtype.kind == "O" and isinstance(value, Sequence):
        raise Uneven([Fault(where, "an array of numbers", "parts that are no numbers")])
    if array.dtype.kind not in "fiub":
        raise SpecViolated([Fault(where, "an array of numbers", f"an array of {array.dtype}")])
    if not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0])
        path = where + "".join(f"[{i}]" for i in place)
        raise SpecViolated([Fault(path, "a finite number", describe(float(array[place])))])
    return array.tolist()


def _split(observations: Mapping[str, Any], where: str) -> list[Any]:
    """Rows from an object of arrays [B, …], as vectorised environments give it. Raises Uneven."""
    parts = {
        str(key): _split(part, where) if isinstance(part, Mapping) else _wire(part, at(where, str(key)))
        for key, part in observations.items()
    }
    lengths = {len(part) if isinstance(part, list) else -1 for part in parts.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise Uneven([Fault(where, "arrays of as many rows each", "others")])
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def read_manifest(description: Any) -> Manifest:
    """The manifest in the server's description of a policy. Raises RlwayError if there is none."""
    try:
        return msgspec.convert(description["manifest"], Manifest)
    except (msgspec.ValidationError, KeyError, TypeError):
        raise RlwayError(NO_POLICY_SERVER) from None


def needs_episodes(description: Any) -> bool:
    """Whether the server's description of a policy says that requests have to name their episode. Raises RlwayError.

    A policy with state needs it, and one whose guard limits changes.
    """
    try:
        guard: Guard | None = msgspec.convert(description.get("guard"), Guard | None)
    except msgspec.ValidationError:
        raise RlwayError(NO_POLICY_SERVER) from None
    return bool(read_manifest(description).state) or (guard is not None and guard.limits_changes)


def read_tree(description: Any) -> Tree | None:
    """What the policy observes, from the server's description of it; None if that does not say."""
    try:
        return grow(msgspec.convert(description["manifest"]["observation"], list[TensorSpec]))
    except (msgspec.ValidationError, KeyError, TypeError):
        return None


def decode_act(answer: Answer) -> Reply:
    """The reply, or the error that the server reported."""
    content = decode_json(answer)
    try:
        action = _joined(content["actions"]) if "actions" in content else content["action"]
        outputs = {name: _to_array(values) for name, values in content.get("outputs", {}).items()}
        guarded = content.get("guarded") or ([] if "actions" in content else {})
        return Reply(arrange_action(_to_action(action)), content["version"], outputs, guarded)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise RlwayError(NO_POLICY_SERVER) from None


def decode_json(answer: Answer) -> Any:
    """The JSON of an answer. Raises the error that the answer reports, or RlwayError if it is not JSON."""
    try:
        content = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    if answer.status >= 400:
        raise from_problem(answer.status, content if isinstance(content, dict) else {}, answer.headers)
    if content is None:
        raise RlwayError(f"the server answered with status {answer.status} and no JSON; is it a policy server?")
    return content


def _joined(rows: list[Any]) -> Any:
    """Rows as they are; rows that are objects as an object of columns."""
    if rows and isinstance(rows[0], dict):
        return {key: _joined([row[key] for row in rows]) for key in rows[0]}
    return rows


def _to_action(action: Any) -> Any:
    if isinstance(action, dict):
        return {key: _to_action(part) for key, part in action.items()}
    return action if isinstance(action, int) else _to_array(action)


def _to_array(values: Any) -> AnyArray:
    array = np.asarray(values)
    if array.dtype.kind not in "iubf":
        raise ValueError("an action of other parts than numbers")
    return array if array.dtype.kind in "iub" else array.astype(np.float32)
