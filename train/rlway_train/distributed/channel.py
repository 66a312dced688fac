"""The channel between the processes of one training: messages through the Reverb server that they share.

In:      from the learner: the job, once; the active policy, after each block. From actors: the returns of episodes.
Out:     to actors: the job and the latest policy. To the learner: returns, and how many rows were ever written.
Refuses: ServerUnreachable when nothing answers for `patience_s`.

Each message is one item: msgpack in a tensor of bytes. The tables of the job and of the policy hold one item each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import reverb

from rlway_client.contract.errors import ServerUnreachable
from rlway_client.contract.specs import FloatArray
from rlway_train.common.deadline import within
from rlway_train.config.settings import TrainingSettings
from rlway_train.replay.reverb import ROWS

JOB, POLICY, EPISODES = "job", "policy", "episodes"
UNREAD_EPISODES = 10_000  # messages; the oldest are dropped when no learner reads them
UNLIMITED = 1e300  # samples
ATTEMPTS = 5  # of a call whose connection breaks
RETRY_S = 0.1  # a port without a listener refuses at once
ANSWER_S = 2  # usually an answer takes well under a millisecond
Message = TypeVar("Message")


class ActorJob(msgspec.Struct, frozen=True):
    """What to train. Actors make their environments and policies from it."""

    algorithm: str
    env: str
    seed: int
    settings: dict[str, Any]  # as in JSON

    @classmethod
    def of(cls, settings: TrainingSettings, env: str, seed: int) -> ActorJob:
        return cls(settings.algorithm, env, seed, msgspec.json.decode(msgspec.json.encode(settings)))


class Weights(msgspec.Struct, frozen=True):
    """An array of float32."""

    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, array: FloatArray) -> Weights:
        return cls(array.shape, np.ascontiguousarray(array, np.float32).tobytes())

    @property
    def array(self) -> FloatArray:
        return np.frombuffer(self.content, np.float32).reshape(self.shape)


class ActivePolicy(msgspec.Struct, frozen=True):
    """The policy that actors use now."""

    step: int  # environment steps so far
    weights: list[Weights] | None = None  # None is the random policy
    priority: float = 1.0  # of new rows
    over: bool = False  # the training is over: no more rows are wanted


class TableStatus(NamedTuple):
    """The status of the rows' table. Its limiter keeps inserted · samples_per_insert − sampled between two bounds."""

    inserted: int  # ever
    sampled: int  # ever
    size: int
    min_size: int
    samples_per_insert: float
    min_diff: float
    max_diff: float
    prioritized: bool

    @property
    def limited(self) -> bool:
        """Whether writers may have to wait."""
        return self.slack < UNLIMITED

    @property
    def slack(self) -> float:
        """Samples between the bound where sampling waits and the bound where writing waits."""
        return self.max_diff - self.min_diff

    def allows_samples(self, n: int) -> bool:
        """Whether `n` more rows can be sampled now."""
        left = self.inserted * self.samples_per_insert - self.sampled - n
        return self.size >= self.min_size and left >= self.min_diff


def message_tables() -> list[reverb.Table]:
    """The server's tables besides the table of rows."""

    def table(name: str, size: int, times: int) -> reverb.Table:
        oldest, always = reverb.selectors.Fifo, reverb.rate_limiters.MinSize(1)
        return reverb.Table(name, oldest(), oldest(), size, always, max_times_sampled=times)

    return [table(JOB, 1, times=0), table(POLICY, 1, times=0), table(EPISODES, UNREAD_EPISODES, times=1)]


class Channel:
    """Reads and writes the messages on the server, from any process."""

    def __init__(
        self,
        address: str,
        patience_s: float = 60.0,
        note: Callable[[str], None] = lambda _: None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`look` is called before each call to the server. It raises if the training cannot go on."""
        self.address, self.patience_s, self._look = address, patience_s, look
        self._subject = f"replay at {address}"
        self._note = note
        self._client = reverb.Client(address)
        self._known: dict[str, tuple[int, Any]] = {}

    def reach(self) -> dict[str, Any]:  # name -> reverb's TableInfo
        """The info of all tables. Waits up to `patience_s` for the server."""
        self._look()
        start_s = time.monotonic()
        tables = self._answer(ANSWER_S)
        if tables is None:
            self._note(f"{self._subject}: no answer; waiting {self.patience_s:g} s for it.")
            while tables is None:
                if time.monotonic() - start_s > self.patience_s:
                    raise ServerUnreachable(
                        f"{self._subject}: no answer within {self.patience_s:g} s; is `rlway train replay` running "
                        f"there?"
                    )
                time.sleep(RETRY_S)
                tables = self._answer(ANSWER_S)
            self._note(f"{self._subject}: is back after {time.monotonic() - start_s:.0f} s.")
        if ROWS not in tables or JOB not in tables:
            raise ServerUnreachable(
                f"{self._subject}: expected the tables of `rlway train replay`, got {', '.join(sorted(tables))}."
            )
        return tables

    def _answer(self, timeout_s: int) -> dict[str, Any] | None:
        try:
            return self._client.server_info(timeout_s)  # type: ignore[no-any-return]
        except (reverb.errors.DeadlineExceededError, RuntimeError):
            return None

    def rows(self) -> TableStatus:
        """The status of the rows' table."""
        table = self.reach()[ROWS]
        limiter = table.rate_limiter_info
        return TableStatus(
            inserted=limiter.insert_stats.completed,
            sampled=limiter.sample_stats.completed,
            size=table.current_size,
            min_size=limiter.min_size_to_sample,
            samples_per_insert=limiter.samples_per_insert,
            min_diff=limiter.min_diff,
            max_diff=limiter.max_diff,
            prioritized=table.sampler_options.prioritized,
        )

    def job(self) -> ActorJob | None:
        """The job, once a learner has announced it."""
        return self._latest(JOB, ActorJob)

    def announce(self, job: ActorJob) -> None:
        """Announces the job to actors."""
        self._write(JOB, job)

    def active_policy(self) -> ActivePolicy | None:
        """The latest policy."""
        return self._latest(POLICY, ActivePolicy)

    def publish(self, policy: ActivePolicy) -> None:
        """Makes actors use this policy."""
        self._write(POLICY, policy)

    def report(self, returns: list[float]) -> None:
        """Sends returns of episodes that ended."""
        if returns:
            self._write(EPISODES, returns)

    def take_returns(self) -> list[float]:
        """The returns that actors reported since the last call."""
        waiting = self.reach()[EPISODES].current_size
        return [value for message in self._sample(EPISODES, waiting, list[float]) for value in message]

    def save(self) -> None:
        """Makes the server write a checkpoint."""
        self._with_retries(self._client.checkpoint)

    def clear(self) -> None:
        """Empties every table, for another training."""

        def reset() -> None:
            for name in (ROWS, JOB, POLICY, EPISODES):
                self._client.reset(name)

        self._with_retries(reset)

    def _latest(self, table: str, kind: type[Message]) -> Message | None:
        """The table's one message. It is read only if it has changed since the last call."""
        info = self.reach()[table]
        written = int(info.rate_limiter_info.insert_stats.completed)
        if table not in self._known or self._known[table][0] != written:
            found = self._sample(table, min(1, info.current_size), kind)
            self._known[table] = (written, found[0] if found else None)
        message: Message | None = self._known[table][1]
        return message

    def _sample(self, table: str, n: int, kind: type[Message]) -> list[Message]:
        if n == 0:
            return []

        def sample() -> list[Any]:
            return list(self._client.sample(table, n, emit_timesteps=False))

        return [msgspec.msgpack.decode(item.data[0].tobytes(), type=kind) for item in self._with_retries(sample)]

    def _write(self, table: str, message: Any) -> None:
        content = np.frombuffer(msgspec.msgpack.encode(message), np.uint8)
        self._with_retries(lambda: self._client.insert(content, {table: 1.0}))

    def _with_retries(self, call: Callable[[], Message]) -> Message:
        """What the call returns. If the connection breaks, it calls again."""
        for _ in range(ATTEMPTS):
            self.reach()
            try:
                return within(self.patience_s, self._subject, call)
            except RuntimeError as error:
                broken = error
        raise ServerUnreachable(f"{self._subject}: {str(broken).splitlines()[0]}.") from broken
