"""A policy on a server, for programs that wait for their action.

In:      an observation.
Out:     an action.
Refuses: ServerUnreachable when the whole exchange takes longer than `timeout_s`; whatever error the server reports.

    with PolicyClient("http://127.0.0.1:8080", "cartpole") as policy:
        action = policy.act(observation)
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from rlway_client.contract.errors import RlwayError, ServerUnreachable, SpecViolated
from rlway_client.contract.exploration import Explore
from rlway_client.contract.nesting import Tree, holds_tuple
from rlway_client.contract.specs import AnyArray
from rlway_client.remote.http import Address, Answer, AnswerReader
from rlway_client.remote.messages import Reply, Uneven, decode_act, decode_json, encode_act, read_tree


class PolicyClient:
    """One connection to one policy, opened when first needed and kept. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        policy: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = 5.0,
        episode: str | None = None,
    ) -> None:
        """A policy with a memory needs an `episode`: any id that no other client uses; `reset` begins the next."""
        self._address = Address.parse(url)
        self._path = act_path(policy)
        self._policy = policy
        self._key = key
        self._episode = episode
        self._first = True
        self._tree: Tree | None = None  # what the policy observes, once that has been asked
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def act(self, observation: Any, *, explore: Explore | None = None, seed: int | None = None) -> Any:
        """The action for one observation: an int (discrete), or an array of its shape.

        The observation is what the environment gives: an array, or a dict or tuple of them, nested as it nests them.
        """
        return self.ask(observation, explore=explore, seed=seed).action

    def act_batch(self, observations: Any, *, explore: Explore | None = None, seed: int | None = None) -> AnyArray:
        """The actions [B, …] for observations [B, …]: an array, a list of rows, or a dict or tuple of columns."""
        actions: AnyArray = self.ask(observations, batched=True, explore=explore, seed=seed).action
        return actions

    def ask(self, observations: Any, *, batched: bool = False, **options: Any) -> Reply:
        """The whole reply. Options: explore, seed, outputs, version or label, deadline_ms, episode, first."""
        if self._episode is not None:
            options = {"episode": self._episode, "first": self._first} | options
        body = self._encode(observations, batched, options)
        try:
            reply = decode_act(self._exchange("POST", self._path, body, may_repeat(options)))
        except SpecViolated:
            self._tree = None  # the version that acts now may observe something else
            raise
        self._first = False
        return reply

    def reset(self) -> None:
        """The next action begins an episode."""
        self._first = True

    def describe(self) -> dict[str, Any]:
        """The policy's manifest, versions and measured latency, as the server tells them."""
        name = self._policy or default_policy(decode_json(self._exchange("GET", "/v1/policies")))
        description: dict[str, Any] = decode_json(self._exchange("GET", f"/v1/policies/{quote(name, safe='')}"))
        self._tree = read_tree(description)
        return description

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
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
        """The request's body; whether a tuple is one array or several tensors is asked of the server, once."""
        if self._tree is None and holds_tuple(observations):
            try:
                self.describe()
            except RlwayError as error:
                if must_know(error, batched):
                    raise
        known = self._tree
        try:
            return encode_act(observations, batched=batched, tree=known, **options)
        except Uneven:
            if known is not None:
                raise
            with suppress(RlwayError):
                self.describe()
            if self._tree is None:
                raise
            return encode_act(observations, batched=batched, tree=self._tree, **options)

    def _exchange(self, method: str, path: str, body: bytes = b"", again: bool = True) -> Answer:
        request = self._address.request(method, path, body, "application/json", self._key)
        deadline = time.monotonic() + self.timeout_s
        try:
            return self._try_again_if_stale(request, deadline, again)
        except TimeoutError:
            self.close()
            raise timed_out(self._address, self.timeout_s) from None
        except (OSError, ServerUnreachable) as error:
            self.close()
            raise unreachable(self._address, error) from None
        except BaseException:  # an interrupted request's answer must not be taken for the next one's
            self.close()
            raise

    def _try_again_if_stale(self, request: bytes, deadline: float, again: bool) -> Answer:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self.close()  # unasked, it can only have closed the connection, or said that it will
        reused = self._socket is not None
        try:
            return self._try(request, deadline)
        except ConnectionError:
            self.close()
            if not (reused and again):
                raise
        # The server had closed the kept connection, as it may at any time; a policy answers the same twice.
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
                    self.close()
                return answer

    def _connect(self, deadline: float) -> socket.socket:
        host, port, tls, _ = self._address
        connection = socket.create_connection((host, port), _remaining(deadline))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls.wrap_socket(connection, server_hostname=host) if tls else connection


def act_path(policy: str | None) -> str:
    """The act route of a policy, or of the server's default policy."""
    return "/act" if policy is None else f"/v1/policies/{quote(policy, safe='')}/act"


def default_policy(listing: Any) -> str:
    """The name that `/act` stands for, from the listing of `GET /v1/policies`."""
    name = listing.get("default") if isinstance(listing, dict) else None
    if not isinstance(name, str):
        raise ServerUnreachable("the server has no default policy; name one of those that it serves.")
    return name


def must_know(error: RlwayError, batched: bool) -> bool:
    """Whether a tuple cannot be sent when this came of asking what the policy observes.

    Of a single one, a server that answers anything can tell by itself. Of a batch it would take columns for rows.
    """
    return batched or isinstance(error, ServerUnreachable)


def may_repeat(options: dict[str, Any]) -> bool:
    """Whether an act request may be sent again when its connection broke before the answer.

    Not within an episode: the server may have made the step, and a second one would change the policy's state again.
    """
    return options.get("episode") is None or bool(options.get("first"))


def unreachable(address: Address, error: Exception) -> ServerUnreachable:
    """The connection failed."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).rstrip(".")
    return ServerUnreachable(f"{address}: no policy server answers there: {reason}.")


def timed_out(address: Address, timeout_s: float) -> ServerUnreachable:
    """Nothing came in time."""
    return ServerUnreachable(f"{address}: no answer within {timeout_s:g} s.")


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
