"""What a request says besides its observations.

In:      fields of a JSON body; a version as a URL has it.
Out:     `Pin`: the version and the episode that it asks for. `ActOptions`: all of its options, among them `TimeStep`.
Refuses: a version that is no number (NotFound).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import NotFound
from rlway_client.contract.exploration import Explore

VERSION = re.compile(r"[1-9][0-9]{0,17}")  # a positive whole number that 64 bits hold
DeadlineMs = Annotated[float, Meta(gt=0)]


class Pin(msgspec.Struct):
    """Which version a request asks for, by number or by label, and which episode it is a step of.

    Without a version and a label it asks for the active version.
    """

    version: int | None = None
    label: str | None = None
    episode: str | None = None
    first: bool = False  # whether the episode begins with this request


NO_PIN = Pin()


def read_version(text: str, policy: str) -> int:
    """The number of a version in a URL. Raises NotFound."""
    if not VERSION.fullmatch(text):
        raise NotFound(f"policy {policy[:64]!r}: expected a positive whole number as version, got {clipped(text)!r}.")
    return int(text)


class TimeStep(msgspec.Struct, forbid_unknown_fields=True):
    """What TF-Agents' time step holds besides the observation: each a number, or a list of one per observation."""

    # `codec/time_step.py` checks the numbers, since it names each fault by its path.
    reward: Any = None
    discount: Any = None
    step_type: Any = None


class ActOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may accompany an observation."""

    explore: Explore | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None  # the same seed gives the same sampled actions
    outputs: list[str] = []  # further outputs to return, such as `q_values`
    version: int | None = None  # which must be loaded
    label: str | None = None  # instead of a version
    deadline_ms: DeadlineMs | None = None
    time_step: TimeStep | None = None  # for policies that read it
    episode: Annotated[str, Meta(min_length=1, max_length=128)] | None = None  # which it is a step of
    first: bool = False  # whether that begins with it
