"""A policy on a server, for programs on asyncio: many environments, one process.

In:      an observation.
Out:     an action.
Refuses: ServerUnreachable when the whole exchange takes longer than `timeout_s`; any error that the server reports.

    async with AsyncPolicyClient("http://127.0.0.1:8080", "cartpole") as policy:
        action = await policy.act(observation)
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rlway_client.contract.errors import RlwayError, ServerUnreachable, SpecViolated
from rlway_client.contract.exploration import Explore
from rlway_client.contract.nesting import Tree, holds_tuple
from rlway_client.remote.client import (
    check_single,
    may_repeat,
    must_know,
    prober_client,
    timed_out,
    unreachable,
)
from rlway_client.remote.fallback.arbiter import episode_ids
from rlway_client.remote.fallback.awaited import AwaitedFallback
from rlway_client.remote.fallback.prober import Asker
from rlway_client.remote.fallback.switch import OnChange
from rlway_client.remote.http import Address, Answer, AnswerReader
from rlway_client.remote.messages import Reply, Uneven, decode_act, decode_json, encode_act, read_tree
from rlway_client.remote.routes import POLICIES, act_path, default_policy, description_path


class AsyncPolicyClient:
    """Asks one policy over as many connections as there are requests at once, and keeps the connections."""

    def __init__(
        self,
        url: str,
        policy: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = 5.0,
        episode: str | None = None,
        fallback: Any = None,
        within_ms: float = 15.0,
        on_change: OnChange | None = None,
    ) -> None:
        """As `PolicyClient` takes them. With an `episode`, only one request at a time may be under way."""
        self._address = Address.parse(url)
        self._path = act_path(policy)
        self._policy = policy
        self._key = key
        self.episode = episode
        self._first = True
        self._resets = 0
        self.tree: Tree | None = None  # what the policy observes, once the server has been asked
        self.timeout_s = timeout_s
        self._idle: deque[KeptConnection] = deque()  # the one used last is at the end
        self.fallback: AwaitedFallback | None = None
        if fallback is not None:
            ids = episode_ids(episode)
            self.fallback = AwaitedFallback(
                fallback,
                within_ms,
                on_change,
                episode is not None,
                lambda: prober_client(url, policy, key, next(ids)),
                self._twin,
            )

    async def act(
        self,
        observation: Any,
        *,
        explore: Explore | None = None,
        seed: int | None = None,
        time_step: Mapping[str, Any] | None = None,
        taken_s: float | None = None,
    ) -> Any:
        """The action for one observation: an int (one discrete number), or float32 or int64 of the action's shape.

        The observation is what the environment gives: an array, or a dict or tuple of them, nested as it nests them.
        The action is what the environment takes, and may be a dict or tuple as well. `time_step` is what the policy
        reads besides the observation, such as {"reward": 1.0}. With a fallback, `taken_s` is when the observation was
        taken, on the clock of `time.monotonic()`; `within_ms` counts from then. Raises SpecViolated if the observation
        does not fit, ServerUnreachable without an answer within `timeout_s`; with a fallback, only where there is
        nothing to hold yet.
        """
        options: dict[str, Any] = {"explore": explore, "seed": seed, "time_step": time_step}
        return (await self.ask(observation, taken_s=taken_s, **options)).action

    async def act_batch(
        self,
        observations: Any,
        *,
        explore: Explore | None = None,
        seed: int | None = None,
        time_step: Mapping[str, Any] | None = None,
    ) -> Any:
        """The actions [B, …] for observations [B, …]: an array, a list of rows, or a dict or tuple of columns.

        Actions that are dicts or tuples come as a dict or tuple of columns. `time_step` has a number for each row.
        """
        options: dict[str, Any] = {"explore": explore, "seed": seed, "time_step": time_step}
        return (await self.ask(observations, batched=True, **options)).action

    async def ask(
        self, observations: Any, *, batched: bool = False, taken_s: float | None = None, **options: Any
    ) -> Reply:
        """The whole reply, with the options of `PolicyClient.ask`."""
        if self.fallback is not None:
            check_single(batched)
            return await self.fallback.ask(observations, options, taken_s)
        if self.episode is not None:
            options = {"episode": self.episode, "first": self._first} | options
        resets = self._resets
        body = await self._encode(observations, batched, options)
        try:
            reply = decode_act(await self._exchange("POST", self._path, body, may_repeat(options)))
        except SpecViolated:
            self.tree = None  # the version that is active now may observe something else
            raise
        if resets == self._resets:  # otherwise the next action begins an episode, though this one has come since
            self._first = False
        return reply

    def reset(self) -> None:
        """The next action begins an episode."""
        self._first = True
        self._resets += 1
        if self.fallback is not None:
            self.fallback.reset()

    async def describe(self, version: int | None = None) -> dict[str, Any]:
        """The server's description of the policy: `manifest`, `versions`, measured latency and more.

        With a `version`, that of this one, which has to be loaded: its `manifest` and latency, whether it is `active`,
        and its `labels`. Otherwise the manifest is the active version's.
        """
        name = self._policy or default_policy(decode_json(await self._exchange("GET", POLICIES)))
        path = description_path(name, version)
        description: dict[str, Any] = decode_json(await self._exchange("GET", path))
        if version is None:
            self.tree = read_tree(description)
        return description

    async def close(self) -> None:
        """Closes the connections that are not in use. A fallback ends."""
        if self.fallback is not None:
            self.fallback.close()
        self.close_idle()

    async def open_connection(self) -> None:
        """Opens one, which the next request uses."""
        self._idle.append(await connect(self._address))

    def _twin(self) -> AsyncPolicyClient:
        """Another client of the same policy, without connections and without a fallback."""
        twin = copy.copy(self)
        twin._idle, twin.fallback = deque(), None
        return twin

    def continued(self, client: Asker) -> Self:
        """Itself, in the episode of another client."""
        self.episode, self.tree, self._first = client.episode, client.tree, False
        return self

    def close_idle(self) -> None:
        """Closes the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _encode(self, observations: Any, batched: bool, options: dict[str, Any]) -> bytes:
        """The request's body. A tuple may be one array or several tensors; the server is asked once which it is."""
        if self.tree is None and holds_tuple(observations):
            try:
                await self.describe()
            except RlwayError as error:
                if must_know(error, batched):
                    raise
        known = self.tree
        try:
            return encode_act(observations, batched=batched, tree=known, **options)
        except Uneven:
            if known is not None:
                raise
            with suppress(RlwayError):
                await self.describe()
            if self.tree is None:
                raise
            return encode_act(observations, batched=batched, tree=self.tree, **options)

    async def _exchange(self, method: str, path: str, body: bytes = b"", again: bool = True) -> Answer:
        request = self._address.request(method, path, body, "application/json", self._key)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._try(request, again)
        except TimeoutError:
            raise timed_out(self._address, self.timeout_s) from None
        except (OSError, ServerUnreachable) as error:
            raise unreachable(self._address, error) from None

    async def _try(self, request: bytes, again: bool) -> Answer:
        while self._idle:
            connection = self._idle.pop()
            if connection.lost:
                continue  # the server has closed it, as it may at any time
            try:
                return await self._ask_over(connection, request)
            except ConnectionError:
                if not again:
                    raise
                continue  # the server closed it just now; the request can be sent again
        return await self._ask_over(await connect(self._address), request)

    async def _ask_over(self, connection: KeptConnection, request: bytes) -> Answer:
        try:
            answer = await connection.exchange(request)
        except BaseException:  # a cancelled request's answer must not be taken for the next one's
            connection.close()
            raise
        if answer.keep_alive:
            self._idle.append(connection)
        else:
            connection.close()
        return answer


class KeptConnection(asyncio.Protocol):
    """One kept connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._waiting: asyncio.Future[Answer] | None = None
        self._lost: Exception | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Sends a request and waits for its answer. Raises ConnectionError when the server closes the connection."""
        if self._lost is not None or self._transport is None:
            raise self._lost or ConnectionResetError("not connected")
        self._reader = AnswerReader()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            return
        try:
            answer = self._reader.feed(data)
        except ServerUnreachable as error:
            self._waiting.set_exception(error)
            return
        if answer is not None:
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = ConnectionResetError(str(exc or "it closed the connection before it had answered"))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._lost)


async def connect(address: Address) -> KeptConnection:
    """A new connection to the server."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(KeptConnection, address.host, address.port, ssl=address.tls)
    return connection
