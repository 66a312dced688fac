"""A policy on a server, for programs that wait for each action.

In:      an observation.
Out:     an action.
Refuses: ServerUnreachable when the whole exchange takes longer than `timeout_s`; any error that the server reports.

    with PolicyClient("http://127.0.0.1:8080", "cartpole") as policy:
        action = policy.act(observation)
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rlway_client.contract.errors import RlwayError, ServerUnreachable, SpecViolated, UsageError
from rlway_client.contract.exploration import Explore
from rlway_client.contract.nesting import Tree, holds_tuple
from rlway_client.remote.fallback.arbiter import episode_ids
from rlway_client.remote.fallback.blocking import BlockingFallback
from rlway_client.remote.fallback.switch import OnChange
from rlway_client.remote.http import Address, Answer, AnswerReader
from rlway_client.remote.messages import Reply, Uneven, decode_act, decode_json, encode_act, read_tree
from rlway_client.remote.routes import POLICIES, act_path, default_policy, description_path


class PolicyClient:
    """One connection to one policy, opened for the first request and kept. Not for several threads at once."""

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
        """Without a `policy`, the server's default policy. `timeout_s` is for the whole exchange of a request.

        A policy with state needs an `episode`, an id that no other client uses; `reset` begins the next one.

        With a `fallback`, every observation has an action within `within_ms`: an EdgePolicy, "hold" (the last action
        again) or an action answers where the server does not. `on_change` is called with "server" or "local" and a
        sentence when that changes. Raises UsageError if `url` is not http://HOST:PORT or https://HOST:PORT.
        """
        self._address = Address.parse(url)
        self._path = act_path(policy)
        self._policy = policy
        self._key = key
        self.episode = episode
        self._first = True
        self.tree: Tree | None = None  # what the policy observes, once the server has been asked
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self.keeps_peer = False  # whether it connects again to the address that it found, without another look-up
        self._peer: str | None = None  # that address, as a number
        self.fallback: BlockingFallback | None = None
        if fallback is not None:
            ids = episode_ids(episode)
            self.fallback = BlockingFallback(
                fallback,
                within_ms,
                on_change,
                episode is not None,
                lambda: prober_client(url, policy, key, next(ids)),
            )

    def act(
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
        return self.ask(observation, taken_s=taken_s, explore=explore, seed=seed, time_step=time_step).action

    def act_batch(
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
        return self.ask(observations, batched=True, **options).action

    def ask(self, observations: Any, *, batched: bool = False, taken_s: float | None = None, **options: Any) -> Reply:
        """The whole reply, for one observation or, if `batched`, for several.

        Options: `explore` and `seed` of the sampling; `outputs`, names of further outputs; `version` or `label`, if not
        the active version; `deadline_ms`, how long the server may take before the policy runs; `episode` and `first`,
        the id of an episode and whether it begins; `time_step`, as `act` takes it. Raises any error that the server
        reports, and ServerUnreachable.
        """
        if self.fallback is not None:
            check_single(batched)
            return self.fallback.ask(observations, options, taken_s)
        if self.episode is not None:
            options = {"episode": self.episode, "first": self._first} | options
        body = self._encode(observations, batched, options)
        try:
            reply = decode_act(self._exchange("POST", self._path, body, may_repeat(options)))
        except SpecViolated:
            self.tree = None  # the version that is active now may observe something else
            raise
        self._first = False
        return reply

    def reset(self) -> None:
        """The next action begins an episode."""
        self._first = True
        if self.fallback is not None:
            self.fallback.reset()

    def describe(self, version: int | None = None) -> dict[str, Any]:
        """The server's description of the policy: `manifest`, `versions`, measured latency and more.

        With a `version`, that of this one, which has to be loaded: its `manifest` and latency, whether it is `active`,
        and its `labels`. Otherwise the manifest is the active version's.
        """
        name = self._policy or default_policy(decode_json(self._exchange("GET", POLICIES)))
        path = description_path(name, version)
        description: dict[str, Any] = decode_json(self._exchange("GET", path))
        if version is None:
            self.tree = read_tree(description)
        return description

    def close(self) -> None:
        """Closes the connection; the next request opens another. A fallback ends."""
        if self.fallback is not None:
            self.fallback.close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, observations: Any, batched: bool, options: dict[str, Any]) -> bytes:
        """The request's body. A tuple may be one array or several tensors; the server is asked once which it is."""
        if self.tree is None and holds_tuple(observations):
            try:
                self.describe()
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
                self.describe()
            if self.tree is None:
                raise
            return encode_act(observations, batched=batched, tree=self.tree, **options)

    def _exchange(self, method: str, path: str, body: bytes = b"", again: bool = True) -> Answer:
        request = self._address.request(method, path, body, "application/json", self._key)
        deadline = time.monotonic() + self.timeout_s
        try:
            return self._try_again_if_stale(request, deadline, again)
        except TimeoutError:
            self._disconnect()
            raise timed_out(self._address, self.timeout_s) from None
        except (OSError, ServerUnreachable) as error:
            self._disconnect()
            raise unreachable(self._address, error) from None
        except BaseException:  # an interrupted request's answer must not be taken for the next one's
            self._disconnect()
            raise

    def _try_again_if_stale(self, request: bytes, deadline: float, again: bool) -> Answer:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._disconnect()  # data before a request can only be the end of the connection, or its announcement
        reused = self._socket is not None
        try:
            return self._try(request, deadline)
        except ConnectionError:
            self._disconnect()
            if not (reused and again):
                raise
        # The server had closed the kept connection, as it may at any time.
        return self._try(request, deadline)

    def _try(self, request: bytes, deadline: float) -> Answer:
        if self._socket is None:
            self._socket = self._connect(deadline)
        connection = self._socket
        connection.settimeout(_remaining(deadline))
        connection.sendall(request)
        reader = AnswerReader()
        while True:
            connection.settimeout(_remaining(deadline))
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("it closed the connection before it had answered")
            answer = reader.feed(data)
            if answer is not None:
                if not answer.keep_alive:
                    self._disconnect()
                return answer

    def _connect(self, deadline: float) -> socket.socket:
        host, port, tls, _ = self._address
        connection = socket.create_connection((self._peer or host, port), _remaining(deadline))
        if self.keeps_peer:
            self._peer = connection.getpeername()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls.wrap_socket(connection, server_hostname=host) if tls else connection


def prober_client(url: str, policy: str | None, key: str | None, episode: str | None) -> PolicyClient:
    """A client for a fallback's prober. It looks up the server's name once: no control loop may wait for that."""
    client = PolicyClient(url, policy, key=key, episode=episode)
    client.keeps_peer = True
    return client


def check_single(batched: bool) -> None:
    """Raises UsageError for several observations in one request, which a fallback cannot answer."""
    if batched:
        raise UsageError("act_batch: a fallback acts on one observation at a time; use `act`, or no fallback.")


def must_know(error: RlwayError, batched: bool) -> bool:
    """Whether a tuple cannot be sent after `describe` failed with this error.

    A server that answers knows what a single tuple is. In a batch, it would mistake columns for rows.
    """
    return batched or isinstance(error, ServerUnreachable)


def may_repeat(options: dict[str, Any]) -> bool:
    """Whether an act request may be sent again when its connection broke before the answer.

    Not within an episode: the server may have made the step, and a second one would change the policy's state again.
    """
    return options.get("episode") is None or bool(options.get("first"))


def unreachable(address: Address, error: Exception) -> ServerUnreachable:
    """The error for a connection that failed."""
    # The numbers of an SSLError are OpenSSL's.
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    reason = os.strerror(number) if number else str(error).rstrip(".")
    return ServerUnreachable(f"{address}: no policy server answers there: {reason}.")


def timed_out(address: Address, timeout_s: float) -> ServerUnreachable:
    """The error for an answer that did not come in time."""
    return ServerUnreachable(f"{address}: no answer within {timeout_s:g} s.")


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
