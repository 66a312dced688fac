"""What a request says besides its observations.

In:      fields of a JSON body.
Out:     `Pin`: the version and the episode that it asks for. `ActOptions`: all of its options, among them `TimeStep`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rlway_client.contract.exploration import Explore

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
