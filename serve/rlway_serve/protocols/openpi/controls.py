"""The control keys of a message: what it says besides the observation.

In:      a message's map; which of its keys are inputs of the policy.
Out:     `Controls`, and the pin in them; the keys are taken out of the map.
Refuses: values of other types (RequestMalformed).

A key is an input, and no control key, if the policy has an input of that name. numpy scalars count as numbers. None is
the same as no key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.common import quote
from rlway_client.contract.errors import RequestMalformed
from rlway_client.contract.exploration import Explore
from rlway_serve.messages.request import DeadlineMs, Pin

EpisodeId = Annotated[str, Meta(min_length=1, max_length=128)]


class Controls(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may accompany an observation; each as in an act request."""

    version: int | None = None
    label: str | None = None
    episode: EpisodeId | int | None = None  # an id of the client's choice; without one, the connection is the episode
    first: bool = False  # whether the episode begins with this observation
    explore: Explore | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    outputs: list[str] = []
    deadline_ms: DeadlineMs | None = None
    server_timing: bool = False  # whether the answer holds the time that it took

    @property
    def pin(self) -> Pin:
        episode = None if self.episode is None else str(self.episode)
        return Pin(self.version, self.label, episode, self.first)


NO_CONTROLS = Controls()


def take_controls(parts: dict[str, Any], is_input: Callable[[str], bool]) -> Controls:
    """Reads the control keys, and removes them from the map."""
    found = [key for key in Controls.__struct_fields__ if key in parts and not is_input(key)]
    given = {key: value for key in found if (value := _plain(parts.pop(key))) is not None}
    if not given:
        return NO_CONTROLS
    try:
        return msgspec.convert(given, Controls)
    except msgspec.ValidationError as error:
        raise RequestMalformed(f"message: {quote.reason(str(error))}.") from None


def _plain(value: Any) -> Any:
    """The value with Python's numbers in place of numpy's."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
