"""What a request says besides its tensors.

In:      fields beside the tensors, as plain values; control inputs among the tensors.
Out:     `Options`.
Refuses: unknown fields, values of another type, an option that is given twice or has several values (RequestMalformed).

Clients that can send nothing but tensors give an episode, a seed and a deadline as inputs of these names, unless the
policy has an input of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.common import quote
from rlway_client.contract.errors import RequestMalformed
from rlway_client.contract.exploration import Explore
from rlway_serve.messages.request import DeadlineMs

CONTROLS = ("episode", "seed", "deadline_ms")  # options that may be inputs
MAX_ROWS = 65536  # of a control input


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All of them may be left out."""

    episode: Annotated[str, Meta(min_length=1, max_length=128)] | None = None  # which the request is a step of
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None  # the same seed gives the same sampled actions
    explore: Explore | None = None
    deadline_ms: DeadlineMs | None = None
    output_filter: list[str] = []  # the outputs to return; empty: the action, and the policy state if it is given


def read_options(fields: Mapping[str, Any], known: str = "") -> Options:
    """The options in these fields; `known` names what else may stand beside them, for the error sentence."""
    unknown = [name for name in fields if name not in Options.__struct_fields__]
    if unknown:
        names = ", ".join(filter(None, (known, *Options.__struct_fields__)))
        raise RequestMalformed(f"{quote.clipped(unknown[0])}: expected no such field; there are {names}.")
    episode = fields.get("episode")
    if isinstance(episode, int) and not isinstance(episode, bool):
        fields = {**fields, "episode": str(episode)}
    try:
        return msgspec.convert(fields, Options)
    except msgspec.ValidationError as error:
        raise RequestMalformed(f"body: {quote.reason(str(error))}.") from None
    except UnicodeEncodeError:
        raise RequestMalformed("body: a field is not Unicode text.") from None


def split_controls(
    tensors: Mapping[str, Any], is_input: Callable[[str], bool]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors without the control inputs, and the value of each of those."""
    names = [name for name in CONTROLS if name in tensors and not is_input(name)]
    controls = {name: _single(name, tensors[name]) for name in names}
    return {name: value for name, value in tensors.items() if name not in controls}, controls


def _single(name: str, value: Any) -> Any:
    """The one value of a control input: it may stand alone, or be repeated for each row, there perhaps in an array."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    rows = value if isinstance(value, list) else [value]
    if len(rows) > MAX_ROWS:
        raise RequestMalformed(f"{name}: expected one value, got more than {MAX_ROWS}.")
    values = [part for row in rows for part in (row if isinstance(row, list) else [row])]
    if not values or any(type(part) is not type(values[0]) or part != values[0] for part in values[1:]):
        raise RequestMalformed(f"{name}: expected one value, the same for all rows, got {len(values)} values.")
    if not isinstance(values[0], bytes):
        return values[0]
    try:
        return values[0].decode()
    except UnicodeDecodeError:
        raise RequestMalformed(f"{name}: expected text in UTF-8, got other bytes.") from None
