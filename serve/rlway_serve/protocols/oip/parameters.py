"""The parameters of a request: sequence, schedule, and those that only RLway has.

In:      `parameters` of a request as plain values: bool, int, float, text; over REST also objects.
Out:     `Options`.
Refuses: unknown parameters, and values of another type (RequestMalformed).

    sequence_id       a number or a text; the id of an episode. 0 and "" stand for none
    sequence_start    whether the episode begins with this request
    sequence_end      whether it ends with this request
    timeout           microseconds until the deadline; 0 stands for none
    priority          checked, and without effect: connections take turns when a policy is busy
    explore           as in act requests, an object or its text: {"epsilon": 0.1}
    seed, label       as in act requests
    episode, first    the same as sequence_id and sequence_start
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rlway_client.common import quote
from rlway_client.contract.errors import RequestMalformed
from rlway_client.contract.exploration import Explore
from rlway_client.contract.specs import describe
from rlway_serve.messages.request import Pin

SHARED_MEMORY = "shared_memory_"  # with which the names of its parameters begin; it is not served
MOST = 2**63 - 1
LONGEST_ID = 128  # characters


class Options(msgspec.Struct, frozen=True):
    """What accompanies the tensors of a request."""

    label: str | None = None
    episode: str | None = None
    first: bool = False
    ends: bool = False  # whether the episode ends with this request
    explore: Explore | None = None
    seed: int | None = None
    deadline_ms: float | None = None

    def pin(self, version: int | None) -> Pin:
        """Which version and episode the request asks for; `version` comes from outside the parameters."""
        return Pin(version, self.label, self.episode, self.first)

    @property
    def is_plain(self) -> bool:
        """Whether it holds nothing but a deadline."""
        return self == Options(deadline_ms=self.deadline_ms)


NO_OPTIONS = Options()


def read_parameters(given: Mapping[str, Any]) -> Options:
    """The options that a request gives. Raises RequestMalformed."""
    if not given:
        return NO_OPTIONS
    values: dict[str, Any] = {}
    for name, value in given.items():
        reader = _READERS.get(name)
        if reader is None:
            known = ", ".join(_READERS)
            raise RequestMalformed(f"parameters: expected any of {known}, got {quote.clipped(name)!r}.")
        values[name] = reader(f"parameters.{name}", value)
    episode = values.get("sequence_id") or values.get("episode")
    if values.get("episode") not in (None, episode):
        raise RequestMalformed("parameters: expected either `sequence_id` or `episode`, got both.")
    first = bool(values.get("sequence_start") or values.get("first"))
    ends = bool(values.get("sequence_end"))
    if (first or ends) and episode is None:
        word = "sequence_end" if ends else "sequence_start" if values.get("sequence_start") else "first"
        raise RequestMalformed(f"parameters.{word}: expected `sequence_id` beside it, got none.")
    timeout_us = values.get("timeout") or None
    return Options(
        label=values.get("label"),
        episode=episode,
        first=first,
        ends=ends,
        explore=values.get("explore"),
        seed=values.get("seed"),
        deadline_ms=None if timeout_us is None else timeout_us / 1000,
    )


def _read_bool(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RequestMalformed(f"{where}: expected true or false, got {describe(value)}.")
    return value


def _read_count(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise RequestMalformed(f"{where}: expected a whole number from 0 to 2^63 - 1, got {describe(value)}.")
    return value


def _read_id(where: str, value: Any) -> str | None:
    """The id of an episode: a number stands for its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return str(value) if value else None
    if not isinstance(value, str):
        raise RequestMalformed(f"{where}: expected a whole number from 0 or a text, got {describe(value)}.")
    if len(value) > LONGEST_ID:
        raise RequestMalformed(f"{where}: expected at most {LONGEST_ID} characters, got {len(value)}.")
    return value or None


def _read_text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        got = "an empty one" if value == "" else describe(value)
        raise RequestMalformed(f"{where}: expected a text, got {got}.")
    return value


def _read_explore(where: str, value: Any) -> Explore:
    try:
        if isinstance(value, str):
            return msgspec.json.decode(value, type=Explore)
        return msgspec.convert(value, Explore)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RequestMalformed(f'{where}: expected such as {{"epsilon": 0.1}}: {quote.reason(str(error))}.') from None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "sequence_id": _read_id,
    "sequence_start": _read_bool,
    "sequence_end": _read_bool,
    "priority": _read_count,
    "timeout": _read_count,
    "explore": _read_explore,
    "seed": _read_count,
    "label": _read_text,
    "episode": _read_id,
    "first": _read_bool,
}
