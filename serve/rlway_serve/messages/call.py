"""One request for actions on its way through the server.

In:      observations that fit the spec, options of exploration, parts of the time step, a deadline.
Out:     a `Response`, given to the caller exactly once.

Nearly every request asks for the action to one observation and nothing else. Such a `PlainCall` costs little to make,
and a batch of them little to run. An `ExpressCall` costs nothing to make: it is the connection itself. A `Call` is any
request.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.exploration import Explore
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.response import Response, problem_response
from rlway_serve.messages.wire import Reply, Wire

TraceHeaders = tuple[tuple[bytes, bytes], ...]


class Receiver(Protocol):
    """Where the answer to one request goes."""

    @property
    def connection(self) -> object:
        """The connection of the request; connections take turns when the policy is busy."""

    @property
    def abandoned(self) -> bool:
        """Whether the client has gone, so that the answer is no longer needed."""

    def answer(self, response: Response) -> None:
        """Called exactly once, from the event loop."""


class Caller(Receiver, Protocol):
    """The sender of one request, who waits for its answer."""

    @property
    def peer(self) -> str | None:
        """The client's address, by which `--max-rate` counts callers without a key; None if it is not known."""

    @property
    def trace_headers(self) -> TraceHeaders:
        """`traceparent` and `tracestate`, as they were sent."""


class PolicyState:
    """What is carried from one step of an episode to the next, for `rows` environments.

    `arrays` is the state of a recurrent policy after the last step, by name; `actions` is what the policy's guard gave
    then, at `given_s` of its clock. Both are None before the first step.
    """

    __slots__ = ("actions", "arrays", "given_s", "rows")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.arrays: Arrays | None = None
        self.actions: Arrays | None = None
        self.given_s = 0.0


class Plain:
    """A request for the action to one observation, without options, to a policy without state."""

    __slots__ = ()

    arrived_s: float  # of `time.perf_counter()`
    observations: Any
    deadline_s: float | None  # on the same clock
    wire: Wire | None  # None: the native one

    rows: ClassVar[int] = 1
    batched: ClassVar[bool] = False
    explore: ClassVar[None] = None  # as the manifest says
    seed: ClassVar[None] = None
    outputs: ClassVar[tuple[str, ...]] = ()
    time_step: ClassVar[None] = None
    state: ClassVar[None] = None
    first: ClassVar[bool] = False
    noise: ClassVar[None] = None
    given_state: ClassVar[None] = None
    reset: ClassVar[None] = None
    named: ClassVar[bool] = False
    reply: ClassVar[None] = None

    def refusal(self, error: RlwayError) -> Response:
        """The error as the request's protocol writes it."""
        return problem_response(error) if self.wire is None else self.wire.refuse(error)

    def take(self, request: Any) -> None:
        """Takes observation and deadline from a decoded `PlainRequest`."""
        self.observations = request.observation
        if request.deadline_ms is not None:
            self.deadline_s = self.arrived_s + request.deadline_ms / 1000  # type: ignore[misc]  # a slot of subclasses


class PlainCall(Plain, msgspec.Struct, gc=False, eq=False):
    """A plain request as an object of its own; `observations` is nested lists or octets.

    Subclasses are also its `Caller`: they keep the answer's place among those of their connection.
    """

    connection: Any  # has a `transport` and a `client`
    arrived_s: float
    observations: Any = None
    raw: bool = False  # octets, and answered as such on the native wire
    deadline_s: float | None = None
    wire: Wire | None = None

    @property
    def abandoned(self) -> bool:
        closing: bool = self.connection.transport.is_closing()
        return closing

    @property
    def peer(self) -> str | None:
        client = self.connection.client
        return client[0] if client else None

    @property
    def trace_headers(self) -> TraceHeaders:
        raise NotImplementedError

    def answer(self, response: Response) -> None:
        raise NotImplementedError


class ExpressCall(Plain):
    """A connection that has asked for one action and waits: it is queued itself, so the request allocates nothing.

    `observations` is octets, or a JSON body until the batcher decodes it together with others. If the connection
    receives anything else before that, the call is withdrawn and submitted again as a `PlainCall`.
    """

    __slots__ = ()

    raw: bool  # octets, and answered as such on the native wire
    transport: asyncio.Transport

    @property
    def connection(self) -> ExpressCall:
        return self

    @property
    def abandoned(self) -> bool:
        return self.transport.is_closing()

    @abstractmethod
    def submit_again(self) -> None:
        """Submits the request again as a `PlainCall`. Called instead of `answer` if the body is not plain."""

    @abstractmethod
    def answer(self, response: Response) -> None:
        """Called once for each time that the connection was queued."""


class Call:
    """Any request. `observations` is one row (nested lists) unless `batched`, else `rows` of them (lists or an array).

    For a policy with several inputs it is arrays by input name, of `rows` rows each.
    """

    __slots__ = (
        "arrived_s",
        "batched",
        "caller",
        "deadline_s",
        "explore",
        "first",
        "given_state",
        "named",
        "noise",
        "observations",
        "on_action",
        "outputs",
        "raw",
        "reply",
        "reset",
        "rows",
        "seed",
        "state",
        "time_step",
    )

    wire: ClassVar[None] = None

    def __init__(
        self,
        observations: Sequence[Any] | float | AnyArray | Arrays,
        rows: int,
        caller: Receiver,
        batched: bool = False,
        raw: bool = False,
        explore: Explore | None = None,
        seed: int | None = None,
        outputs: tuple[str, ...] = (),
        deadline_ms: float | None = None,
    ) -> None:
        self.observations = observations
        self.rows = rows
        self.caller = caller
        self.batched = batched  # whether the request had `observations`, and is answered with `actions`
        self.raw = raw  # answered as octets
        self.explore = explore  # None: as the manifest says
        self.seed = seed
        self.outputs = outputs
        self.time_step: Arrays | None = None  # what the request gives of it, by name, one number for each row
        self.state: PolicyState | None = None  # of the episode that the call is a step of
        self.first = False  # whether that episode begins with this call
        self.noise: AnyArray | None = None  # [rows, n]; None: drawn as `explore` says
        self.given_state: Arrays | None = None  # the policy state that the request itself holds, in place of an episode
        self.reset: AnyArray | None = None  # bool[rows]: where the policy ignores the state that it is given
        self.reply: Reply | None = None  # None: answered as on the native routes
        self.on_action: Callable[[Call], None] | None = None  # called before it is answered, unless with an error
        self.named = False  # whether error sentences call each observation by its tensor's name
        self.arrived_s = time.perf_counter()
        self.deadline_s = None if deadline_ms is None else self.arrived_s + deadline_ms / 1000

    @property
    def begins(self) -> bool:
        """Whether each row says itself that its episode begins."""
        return self.reset is not None and bool(self.reset.all())

    @property
    def connection(self) -> object:
        return self.caller.connection

    @property
    def abandoned(self) -> bool:
        return self.caller.abandoned

    def answer(self, response: Response) -> None:
        if self.on_action is not None and response.status == 200:
            self.on_action(self)
        self.caller.answer(response)

    def refusal(self, error: RlwayError) -> Response:
        """The error as the request's protocol writes it."""
        return problem_response(error) if self.reply is None else self.reply.refuse(error)


AnyCall = PlainCall | ExpressCall | Call
