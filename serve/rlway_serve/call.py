"""One request for actions on its way through the server.

In:      observations that fit the spec, how to explore, until when.
Out:     a `Response`, given to `reply` exactly once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rlway_client.exploration import Explore
from rlway_client.parity import Arrays
from rlway_client.specs import AnyArray
from rlway_serve.response import Response

if TYPE_CHECKING:
    from rlway_serve.episodes import Episode

# May have `connection`, with which others take turns when the policy is busy, `abandoned`, once nobody waits, and
# `peer`, the address that `--max-rate` counts.
Reply = Callable[[Response], None]


class Call:
    """`observations` is one row (nested lists) unless `batched`, else `rows` of them (nested lists or an array).

    Of a policy with several inputs it is arrays by input name, of `rows` rows each.
    """

    __slots__ = (
        "arrived_s",
        "batched",
        "deadline_s",
        "episode",
        "explore",
        "first",
        "observations",
        "outputs",
        "raw",
        "reply",
        "rows",
        "seed",
    )

    def __init__(
        self,
        observations: Sequence[Any] | float | AnyArray | Arrays,
        rows: int,
        reply: Reply,
        batched: bool = False,
        raw: bool = False,
        explore: Explore | None = None,
        seed: int | None = None,
        outputs: tuple[str, ...] = (),
        deadline_ms: float | None = None,
    ) -> None:
        self.observations = observations
        self.rows = rows
        self.reply = reply
        self.batched = batched  # answered with `actions`, as it was asked with `observations`
        self.raw = raw  # answered as octets
        self.explore = explore
        self.seed = seed
        self.outputs = outputs
        self.episode: Episode | None = None
        self.first = False  # whether the episode begins with it
        self.arrived_s = time.perf_counter()
        self.deadline_s = None if deadline_ms is None else self.arrived_s + deadline_ms / 1000
