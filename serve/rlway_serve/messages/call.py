"""One request for actions on its way through the server.

In:      observations that fit the spec, how to explore, until when.
Out:     a `Response`, given to `answer` exactly once.

Nearly every request asks for the action to one observation and nothing else. Such a `PlainCall` costs little to make,
and a batch of them little to run; a `Call` is any request.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from rlway_client.contract.exploration import Explore
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.response import Response

if TYPE_CHECKING:
    from rlway_serve.gateway.episodes import Episode

# May have `connection`, with which others take turns when the policy is busy, `abandoned`, once nobody waits, and
# `peer`, the address that `--max-rate` counts.
Reply = Callable[[Response], None]


class Plain:
    """One observation whose greedy action is asked of a policy without a memory."""

    __slots__ = ()

    arrived_s: float  # of `time.perf_counter()`
    observations: Any
    deadline_s: float | None  # as `arrived_s`

    rows: ClassVar[int] = 1
    batched: ClassVar[bool] = False
    explore: ClassVar[None] = None
    seed: ClassVar[None] = None
    outputs: ClassVar[tuple[str, ...]] = ()
    episode: ClassVar[None] = None
    first: ClassVar[bool] = False

    def take(self, asked: Any) -> None:
        """Becomes what a decoded `PlainRequest` asks for."""
        self.observations = asked.observation
        if asked.deadline_ms is not None:
            self.deadline_s = self.arrived_s + asked.deadline_ms / 1000  # type: ignore[misc]  # a slot of subclasses


class PlainCall(Plain, msgspec.Struct, gc=False, eq=False):
    """The same as an object of its own, with nested lists or octets.

    Subclasses are the place where the answer is awaited, as `Reply` says.
    """

    connection: Any  # has a `transport` and a `client`; requests are taken from connections in turn
    arrived_s: float
    observations: Any = None
    raw: bool = False  # octets, and answered as such
    deadline_s: float | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        closing: bool = self.connection.transport.is_closing()
        return closing

    @property
    def peer(self) -> str | None:
        """The caller's address."""
        client = self.connection.client
        return client[0] if client else None

    def answer(self, response: Response) -> None:
        raise NotImplementedError

    def __call__(self, response: Response) -> None:
        """The same: it is the reply of a call that turned out not to be plain."""
        self.answer(response)


class OwnCall(Plain):
    """A connection that has asked for one thing and waits, as its own call: nothing need be made for it.

    `observations` is octets, or the body of JSON until the batcher has read it with those of others. What comes on the
    connection before that is read after it: the call is withdrawn, and asked for with a `PlainCall`.
    """

    __slots__ = ()

    raw: bool = False
    transport: asyncio.Transport

    @property
    def connection(self) -> OwnCall:
        return self

    @property
    def abandoned(self) -> bool:
        return self.transport.is_closing()

    @abstractmethod
    def ask_again(self) -> None:
        """Has the endpoint read the body of JSON, which is not plain. Called instead of `answer`."""

    @abstractmethod
    def answer(self, response: Response) -> None:
        """Called once for each time that it was queued."""


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

    @property
    def connection(self) -> object:
        return getattr(self.reply, "connection", self)

    @property
    def abandoned(self) -> bool:
        return getattr(self.reply, "abandoned", False)

    def answer(self, response: Response) -> None:
        self.reply(response)


AnyCall = PlainCall | OwnCall | Call
