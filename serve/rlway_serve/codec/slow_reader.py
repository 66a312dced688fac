"""Reads JSON bodies that the fast reader refused: it accepts more, and names every fault by its path.

In:      a body of JSON.
Out:     its options, and its observations as arrays; equal to the fast reader's if that can read the body.
Refuses: RequestMalformed (not JSON, not an object, a wrong option), SpecViolated (every fault by its path),
         BodyTooLarge (too many rows).

The fast reader is msgspec, which is strict. Python's json also reads NaN, a whole number written as `3.0`, uint64
numbers above 2^63, strings with half a surrogate pair, and text behind a byte order mark.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from rlway_client.contract.errors import BodyTooLarge, RequestMalformed, SpecViolated
from rlway_client.contract.named_values import keep_doubles
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, describe
from rlway_serve.codec.observation import ObservationForm

ROWS_AT_ONCE = 256
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SlowlyRead(NamedTuple):
    """`observation` and `observations` are UNSET if the body has none; otherwise arrays with one row each."""

    options: Any  # as `convert_options` returned them
    observation: AnyArray | Arrays | UnsetType
    observations: AnyArray | Arrays | UnsetType


class SlowReader:
    """Reads bodies for one policy."""

    def __init__(self, form: ObservationForm, max_rows: int) -> None:
        self._form = form
        self._max_rows = max_rows

    def read(self, body: bytes, convert_options: Callable[[dict[str, Any]], Any]) -> SlowlyRead:
        """The body's parts. Faults of the JSON text are raised first, then those of options, then of observations."""
        raw = parse(body)
        observation, observations = raw.pop("observation", UNSET), raw.pop("observations", UNSET)
        options = convert_options(raw)
        faults: list[Fault] = []
        one: Any = UNSET
        several: Any = UNSET
        if observation is not UNSET:
            one, faults = self.read_rows([observation], lambda _: "observation")
        if observations is not UNSET:
            if isinstance(observations, list) and observations:
                check_rows(len(observations), self._max_rows)
                several, more = self.read_rows(observations, lambda i: f"observations[{i}]")
                faults += more
            else:
                got = describe(observations) if observations != [] else "0"
                faults.append(Fault("observations", f"an array of at least 1 {self._form.label}", got))
        if faults:
            raise SpecViolated(faults[:MAX_FAULTS])
        return SlowlyRead(options, one, several)

    def read_rows(self, rows: list[Any], name: Callable[[int], str]) -> tuple[Any, list[Fault]]:
        """The rows as arrays, or their faults.

        Rows are converted in parts, and checked one by one only in a part that has a fault: a large body must not block
        the event loop for seconds.
        """
        parts: list[AnyArray | Arrays] = []
        faults: list[Fault] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            arrays = self._form.convert(some)
            if arrays is not None:
                parts.append(arrays)
                continue
            for i, row in enumerate(some, start):
                faults += self._form.find_faults(row, name(i))
            if not faults:
                raise AssertionError("rows were refused without a fault")
            if len(faults) >= MAX_FAULTS:
                break
        return (UNSET, faults) if faults else (self._form.join_arrays(parts), faults)


def check_rows(rows: int, most: int, where: str = "observations") -> None:
    """Raises BodyTooLarge if a request has too many rows."""
    if rows > most:
        raise too_many(str(rows), most, where)


def too_many(got: str, most: int, where: str = "observations") -> BodyTooLarge:
    """The error for a request with too many rows."""
    return BodyTooLarge(f"{where}: expected at most {most} rows, got {got}; send several requests.")


def parse(body: bytes) -> dict[str, Any]:
    """Decodes a body of JSON in UTF-8 (RFC 8259) that holds an object."""
    try:
        text = body.removeprefix(BYTE_ORDER_MARK).decode()
        raw = json.loads(text, parse_int=_parse_int, object_pairs_hook=keep_doubles)
    except UnicodeDecodeError:
        raise RequestMalformed("body: not JSON: not UTF-8 text.") from None
    except RecursionError:
        raise RequestMalformed("body: not JSON that can be read: nested too deeply.") from None
    except ValueError as error:
        raise RequestMalformed(f"body: not JSON: {error}.") from None
    if not isinstance(raw, dict):
        raise RequestMalformed(f"body: expected an object with `observation` or `observations`, got {describe(raw)}.")
    return raw


def read_fields(body: bytes, kind: type[msgspec.Struct]) -> Any:
    """A Struct with those of its fields that the body has; None if the body or one of them cannot be read."""
    try:
        raw = parse(body)
        return msgspec.convert({name: raw[name] for name in kind.__struct_fields__ if name in raw}, kind)
    except (RequestMalformed, msgspec.ValidationError, UnicodeEncodeError):
        return None


def _parse_int(digits: str) -> int | float:
    """Python refuses integers of thousands of digits; as a float they are infinite, which the spec refuses."""
    return int(digits) if len(digits) < 400 else float(digits)
