"""The body of a predict request over REST, in row or in column format.

In:      JSON: `instances` (rows) or `inputs` (columns), `signature_name`, options.
Out:     `RestQuestion`, which writes `predictions` or `outputs`.
Refuses: what is not JSON or not an object, both formats or neither, rows of different kinds, base64 values, elements
         that are named twice (RequestMalformed); too much JSON or too many rows (BodyTooLarge).

NaN and Infinity are numbers in this JSON, so the policy's spec refuses them by their places.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from rlway_client.common import quote
from rlway_client.contract.errors import BodyTooLarge, RequestMalformed, RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.named_values import Doubled, keep_doubles
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import describe
from rlway_serve.codec.decoder import UNREADABLE
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.messages.response import Response
from rlway_serve.protocols.tfs.options import CONTROLS
from rlway_serve.protocols.tfs.question import PredictQuestion
from rlway_serve.protocols.tfs.rest.answer import refuse, write_columns, write_rows
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

INSTANCES, INPUTS, SIGNATURE = "instances", "inputs", "signature_name"
FIELDS = f"{SIGNATURE}, {INSTANCES}, {INPUTS}"
BASE64 = "b64"
MAX_DIGITS = 400  # of a whole number; longer ones are infinite as floats, which the spec refuses


class RestQuestion(PredictQuestion):
    """A predict request in JSON."""

    def __init__(
        self, policy: ServedPolicy, body: bytes, settings: Settings, version: int | None, label: str | None
    ) -> None:
        if len(body) > settings.max_json_bytes:
            raise BodyTooLarge(
                f"body: expected at most {settings.max_json_bytes} bytes of JSON; send the rows in several requests."
            )
        fields = _parse(body)
        signature = fields.pop(SIGNATURE, None)
        if not isinstance(signature, str | None):
            raise RequestMalformed(f"'{SIGNATURE}' key must be a string value, got {describe(signature)}.")
        self._in_rows = INSTANCES in fields
        tensors, self._sole = _read_tensors(fields, settings.max_rows)
        if b'"b64"' in body:
            tensors = _read_base64(tensors)
            _refuse_base64(INSTANCES if self._in_rows else INPUTS, self._sole)
        active = policy.active
        if active is not None and active.tensors.takes_names and _hold_names(tensors, self._sole, active.tensors):
            _refuse_doubles(body)
        super().__init__(
            policy, tensors, fields, known_fields=FIELDS, signature=signature or "", version=version, label=label
        )

    def name_tensors(self, version: LoadedVersion) -> Mapping[str, Any]:
        if self._sole is None:
            return self._tensors
        observation = version.manifest.observation
        if len(observation) > 1:
            got, expected = (
                (f"{INSTANCES} is a plain list", "list of objects")
                if self._in_rows
                else (f"{INPUTS} is a plain value/list", "an object")
            )
            names = quote.named([spec.name for spec in observation])
            raise RequestMalformed(f"{got}, but expecting {expected} as multiple input tensors required: {names}.")
        return {observation[0].name: self._sole}

    def write(self, results: Arrays, violated: Violations) -> Response:  # noqa: ARG002  # no place to say it
        arrays = self.select(results)
        return write_rows(arrays) if self._in_rows else write_columns(arrays)

    def refuse(self, error: RlwayError) -> Response:
        return refuse(self.in_serving_words(error))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except UNREADABLE:
        fields = _parse_slowly(body)
    if not isinstance(fields, dict):
        raise RequestMalformed(f"body: expected an object with `{INSTANCES}` or `{INPUTS}`, got {describe(fields)}.")
    return fields


def _parse_slowly(body: bytes) -> Any:
    """As msgspec reads it, but with NaN, Infinity, half surrogate pairs and a byte order mark."""
    if not body:
        raise RequestMalformed("JSON Parse error: The document is empty.")
    try:
        return json.loads(body.decode("utf-8-sig"), parse_int=_parse_int)
    except UnicodeDecodeError:
        raise RequestMalformed("JSON Parse error: not UTF-8 text.") from None
    except RecursionError:
        raise RequestMalformed("JSON Parse error: nested too deeply.") from None
    except ValueError as error:
        raise RequestMalformed(f"JSON Parse error: {quote.reason(error)}.") from None


def _hold_names(tensors: Mapping[str, Any], sole: Any, form: TensorForm) -> bool:
    """Whether some of the inputs are elements, or lists of objects."""
    lists = (value for value in (*tensors.values(), sole) if isinstance(value, list) and value)
    return any(map(form.is_element, tensors)) or any(isinstance(value[0], dict) for value in lists)


def _refuse_doubles(body: bytes) -> None:
    """Raises for a key that comes twice, of which the parser has kept the last value."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        fields = keep_doubles(pairs)
        if isinstance(fields, Doubled):
            raise RequestMalformed(f"body: expected each name once, got {quote.clipped(fields.key)!r} twice.")

    json.loads(body.decode("utf-8-sig"), parse_int=_parse_int, object_pairs_hook=check)


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_DIGITS else float(digits)


def _read_tensors(fields: dict[str, Any], max_rows: int) -> tuple[dict[str, Any], Any]:
    """The tensors by name, or the values of a sole input without a name; removes them from the fields."""
    if INSTANCES in fields and INPUTS in fields:
        raise RequestMalformed(f"body: expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist, got both.")
    if INPUTS in fields:
        inputs = fields.pop(INPUTS)
        return (inputs, None) if _is_named(inputs) else ({}, inputs)
    if INSTANCES not in fields:
        raise RequestMalformed(f"Missing '{INPUTS}' or '{INSTANCES}' key in the body.")
    instances = fields.pop(INSTANCES)
    if not isinstance(instances, list):
        raise RequestMalformed(f"body: expecting '{INSTANCES}' to be a list/array, got {describe(instances)}.")
    if not instances:
        raise RequestMalformed(f"body: no values in '{INSTANCES}' array; expected at least one row.")
    if len(instances) > max_rows:
        raise BodyTooLarge(
            f"{INSTANCES}: expected at most {max_rows} rows, got {len(instances)}; send several requests."
        )
    return (_transpose(instances), None) if _is_named(instances[0]) else ({}, _check_bare(instances))


def _transpose(instances: list[Any]) -> dict[str, list[Any]]:
    """The columns of rows that are objects."""
    names = instances[0].keys()
    for i, row in enumerate(instances):
        if not _is_named(row):
            raise RequestMalformed(
                f"{INSTANCES}[{i}]: expecting object but got {describe(row)}; name each row's inputs."
            )
        if row.keys() != names:
            odd = min(row.keys() ^ names)
            raise RequestMalformed(
                f"{INSTANCES}[{i}]: keys must be equal to: {quote.named([*names])}, as in the first row; "
                f"{quote.clipped(odd)} is only in one of them."
            )
    return {name: [row[name] for row in instances] for name in names}


def _check_bare(instances: list[Any]) -> list[Any]:
    for i, row in enumerate(instances):
        if _is_named(row):
            raise RequestMalformed(
                f"{INSTANCES}[{i}]: expecting value/list but got object; the first row has no names."
            )
    return instances


def _is_named(value: Any) -> bool:
    """Whether the keys of an object are names of inputs."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64), str)


def _read_base64(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors, with octets for the base64 values of control inputs. Raises RequestMalformed for other ones."""
    read = {name: _decode_base64(name, value) if name in CONTROLS else value for name, value in tensors.items()}
    for name, value in read.items():
        _refuse_base64(name, value)
    return read


def _decode_base64(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_base64(name, part) if _is_base64(part) else part for part in value]
    if not _is_base64(value):
        return value
    try:
        return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, ValueError):
        raise RequestMalformed(f"{name}: unable to base64 decode its value.") from None


def _refuse_base64(name: str, value: Any) -> None:
    while isinstance(value, list) and value:
        value = value[0]
    if _is_base64(value):
        raise RequestMalformed(
            f"{quote.clipped(name)}: expected an array of numbers, got base64 data; no input of a policy is a string."
        )
