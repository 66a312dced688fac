"""A second, slow reader of act requests: it uses json and numpy, and follows the rules of the documentation.

In:      a manifest, limits, a media type and a body.
Out:     `Reading`: the statuses with which the request may be refused, or the observations that it holds.
Refuses: `Unclear`, for a number that the documentation does not decide.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.exploration import Explore, check_explore
from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_serve.settings import Settings

OPTIONS = ("explore", "seed", "outputs", "version", "label", "deadline_ms", "time_step", "episode", "first")
WAYS = ("epsilon", "temperature", "sigma")


class Unclear(Exception):
    """A number such as 1.0 or 1e2, which one reader may take for an integer and another may not."""


class Reading(NamedTuple):
    """`refusals` is empty where the request must be answered."""

    refusals: set[int]
    rows: int = 0
    batched: bool = False
    observations: Arrays = {}  # noqa: RUF012


def read(manifest: Manifest, settings: Settings, media_type: bytes, body: bytes) -> Reading:
    """Reads a request as the documentation says."""
    base = media_type.partition(b";")[0].strip().lower()
    if base == b"application/octet-stream":
        return _read_octets(manifest, settings, body)
    if base not in (b"application/json", b""):
        return Reading({415})
    if len(body) > settings.max_json_bytes:
        return Reading({413})
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
        request = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 400 else float(digits))
    except (ValueError, RecursionError):
        return Reading({400})
    if not isinstance(request, dict):
        return Reading({400})
    given = [name for name in ("observation", "observations") if name in request]
    refusals = _option_refusals(manifest, request)
    if request.get("time_step") and not refusals:
        refusals = _time_step_refusals(manifest, request["time_step"], request.get("observations"))
    if len(given) != 1:
        refusals.add(400)
    for name in given:
        rows = request[name] if name == "observations" else [request[name]]
        if not isinstance(rows, list) or not rows:
            refusals.add(422)
        elif len(rows) > settings.max_rows:
            refusals.add(413)
        elif not all(_fits(row, manifest.observation) for row in rows):
            refusals.add(422)
    if refusals:
        return Reading(refusals)
    rows = request["observations"] if given == ["observations"] else [request["observation"]]
    observations = {
        spec.name: np.array([_leaf(row, spec) for row in rows]).astype(spec.numpy_dtype)
        for spec in manifest.observation
    }
    return Reading(set(), len(rows), given == ["observations"], observations)


def _read_octets(manifest: Manifest, settings: Settings, body: bytes) -> Reading:
    row_bytes = sum(spec.row_bytes for spec in manifest.observation)
    if not body or len(body) % row_bytes:
        return Reading({422})
    rows = len(body) // row_bytes
    if rows > settings.max_rows:
        return Reading({413})
    values: dict[str, list[Any]] = {spec.name: [] for spec in manifest.observation}
    at = 0
    for _ in range(rows):
        for spec in manifest.observation:
            octets = np.frombuffer(body[at : at + spec.row_bytes], np.uint8)
            row = octets != 0 if spec.dtype == "bool" else octets.view(spec.numpy_dtype)
            values[spec.name].append(row.reshape(spec.shape))
            at += spec.row_bytes
    observations = {name: np.array(value) for name, value in values.items()}
    finite = all(np.isfinite(value).all() for value in observations.values())
    known = all(
        _is_in_table(value, spec) for spec in manifest.observation for value in observations[spec.name].ravel().tolist()
    )
    return Reading(set() if finite and known else {422}, rows, True, observations)


def _option_refusals(manifest: Manifest, request: dict[str, Any]) -> set[int]:
    sound: dict[str, Any] = {
        "explore": lambda v: isinstance(v, dict) and all(k in WAYS and (w is None or _number(w)) for k, w in v.items()),
        "seed": lambda v: _whole(v) and 0 <= v < 2**63,
        "version": _whole,
        "label": lambda v: isinstance(v, str),
        "deadline_ms": lambda v: _number(v) and v > 0,
        "time_step": lambda v: isinstance(v, dict) and set(v) <= set(TIME_STEP),
        "episode": lambda v: isinstance(v, str) and 1 <= len(v) <= 128,
    }
    refusals = set()
    for name, value in request.items():
        if name in ("observation", "observations"):
            continue
        if name == "outputs":
            right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        elif name == "first":
            right = isinstance(value, bool)
        else:
            right = name in OPTIONS and (value is None or bool(sound[name](value)))
        if not right:
            refusals.add(400)
    if refusals:
        return refusals | {422}  # either may be found first
    if request.get("explore") is not None:
        try:
            check_explore(Explore(**request["explore"]), manifest.interface.noise_draws)
        except SpecViolated:
            refusals.add(422)
    known = {spec.name for spec in manifest.outputs}
    if not known.issuperset(request.get("outputs", [])):
        refusals.add(422)
    return refusals


def _time_step_refusals(manifest: Manifest, time_step: dict[str, Any], observations: Any) -> set[int]:
    known = {spec.name: spec for spec in manifest.time_step}
    for name, part in time_step.items():
        column = part if isinstance(observations, list) else [part]
        if part is None:
            continue
        if name not in known or not isinstance(column, list):
            return {422}
        if isinstance(observations, list) and len(column) != len(observations):
            return {422}
        if not all(_tensor_fits(number, known[name], ()) for number in column):
            return {422}
        if name == "step_type" and not set(column) <= {0, 1, 2}:
            return {422}
    return set()


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    if isinstance(value, float) and value % 1 == 0:
        raise Unclear
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64


def _fits(row: Any, specs: list[TensorSpec]) -> bool:
    if len(specs) == 1 and not specs[0].path:
        return _tensor_fits(row, specs[0], specs[0].shape)
    tree: dict[str, Any] = {}
    for spec in specs:
        branch = tree
        for key in spec.path[:-1]:
            branch = branch.setdefault(key, {})
        branch[spec.path[-1]] = spec
    return _object_fits(row, tree)


def _object_fits(value: Any, tree: Any) -> bool:
    if isinstance(tree, TensorSpec):
        return _tensor_fits(value, tree, tree.shape)
    if isinstance(value, list) and list(tree) == [str(i) for i in range(len(value))]:
        return all(map(_object_fits, value, tree.values()))
    if not isinstance(value, dict) or value.keys() != tree.keys():
        return False
    return all(_object_fits(value[key], branch) for key, branch in tree.items())


def _tensor_fits(value: Any, spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    if shape:
        return (
            isinstance(value, list)
            and len(value) == shape[0]
            and all(_tensor_fits(item, spec, shape[1:]) for item in value)
        )
    kind = spec.numpy_dtype.kind
    if kind == "b":
        return isinstance(value, bool)
    if not _number(value):
        return False
    if kind == "f":
        with np.errstate(over="ignore"):
            try:
                return bool(np.isfinite(np.float64(value).astype(spec.numpy_dtype)))
            except OverflowError:
                return False
    limits = np.iinfo(spec.dtype)
    return bool(value % 1 == 0 and int(limits.min) <= value <= int(limits.max)) and _is_in_table(value, spec)


def _is_in_table(value: float, spec: TensorSpec) -> bool:
    """Whether the value is in the spec's lookup table; all elements of the spec must have the same bounds."""
    low, high = spec.lookup_minimum, spec.lookup_maximum
    assert not isinstance(low, list)
    assert not isinstance(high, list)
    return (low is None or value >= low) and (high is None or value <= high)


def _leaf(row: Any, spec: TensorSpec) -> Any:
    for key in spec.path:
        row = row[int(key)] if isinstance(row, list) else row[key]
    return row
