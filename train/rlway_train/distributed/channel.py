"""What the processes of one training tell each other, through the Reverb server between them.

In:      from the learner: the job once, the acting policy after each block. From actors: the returns of episodes.
Out:     to actors: the job, and the latest policy. To the learner: returns, and how many rows there ever were.
Refuses: ServerUnreachable when nothing answers for `patience_s`.

Each message is one item, msgpack in a tensor of bytes. The tables of the job and of the policy hold one item each.
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
UNREAD_EPISODES = 10_000  # messages; the oldest are forgotten when no learner reads them
UNLIMITED = 1e300  # samples
ATTEMPTS = 5  # for a call whose connection breaks
AGAIN_S = 0.1  # a port where nobody listens refuses at once
SOON_S = 2  # an answer takes well under a millisecond
Message = TypeVar("Message")


class ActorJob(msgspec.Struct, frozen=True):
    """What is trained, for actors to act alike."""

    algorithm: str
    env: str
    seed: int
    settings: dict[str, Any]  # as JSON has them

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
    """The policy of the moment."""

    step: int  # environment steps until now
    weights: list[Weights] | None = None  # None acts at random
    priority: float = 1.0  # of new rows
    over: bool = False  # the training has ended: no more rows are wanted


class TableStatus(NamedTuple):
    """Where the rows' table stands. Its limiter keeps inserted · samples_per_insert − drawn between two bounds."""

    inserted: int  # ever
    drawn: int  # ever
    size: int
    min_size: int
    samples_per_insert: float
    min_diff: float
    max_diff: float
    prioritized: bool

    @property
    def limited(self) -> bool:
        """Whether those who write may have to wait."""
        return self.slack < UNLIMITED

    @property
    def slack(self) -> float:
        """Samples between the moment when drawing waits and the moment when writing waits."""
        return self.max_diff - self.min_diff

    def lets_draw(self, n: int) -> bool:
        """Whether so many more could be drawn now."""
        return self.size >= self.min_size and self.inserted * self.samples_per_insert - self.drawn - n >= self.min_diff


def message_tables() -> list[reverb.Table]:
    """The tables that a server has besides that of the rows."""

    def table(name: str, size: int, times: int) -> reverb.Table:
        oldest, always = reverb.selectors.Fifo, reverb.rate_limiters.MinSize(1)
        return reverb.Table(name, oldest(), oldest(), size, always, max_times_sampled=times)

    return [table(JOB, 1, times=0), table(POLICY, 1, times=0), table(EPISODES, UNREAD_EPISODES, times=1)]


class Channel:
    """The server's messages, read and written from any process."""

    def __init__(
        self,
        address: str,
        patience_s: float = 60.0,
        note: Callable[[str], None] = lambda _: None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`look` is called whenever the server is looked at, and raises when there is no use in going on."""
        self.address, self.patience_s, self._look = address, patience_s, look
        self._subject = f"replay at {address}"
        self._note = note
        self._client = reverb.Client(address)
        self._known: dict[str, tuple[int, Any]] = {}

    def reach(self) -> dict[str, Any]:  # name -> reverb's TableInfo
        """The state of the tables, as soon as the server answers."""
        self._look()
        start_s = time.monotonic()
        tables = self._answer(SOON_S)
        if tables is None:
            self._note(f"{self._subject}: no answer; waiting {self.patience_s:g} s for it.")
            while tables is None:
                if time.monotonic() - start_s > self.patience_s:
                    raise ServerUnreachable(
                        f"{self._subject}: no answer within {self.patience_s:g} s; is `rlway train replay` running "
                        f"there?"
                    )
                time.sleep(AGAIN_S)
                tables = self._answer(SOON_S)
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
        """The state of the rows' table."""
        table = self.reach()[ROWS]
        limiter = table.rate_limiter_info
        return TableStatus(
            inserted=limiter.insert_stats.completed,
            drawn=limiter.sample_stats.completed,
            size=table.current_size,
            min_size=limiter.min_size_to_sample,
            samples_per_insert=limiter.samples_per_insert,
            min_diff=limiter.min_diff,
            max_diff=limiter.max_diff,
            prioritized=table.sampler_options.prioritized,
        )

    def job(self) -> ActorJob | None:
        """What is trained, once a learner has said so."""
        return self._latest(JOB, ActorJob)

    def announce(self, job: ActorJob) -> None:
        """Says what is trained."""
        self._write(JOB, job)

    def acting(self) -> ActivePolicy | None:
        """The latest policy."""
        return self._latest(POLICY, ActivePolicy)

    def publish(self, acting: ActivePolicy) -> None:
        """Has actors go by this policy."""
        self._write(POLICY, acting)

    def report(self, returns: list[float]) -> None:
        """Adds returns of episodes that ended."""
        if returns:
            self._write(EPISODES, returns)

    def take_returns(self) -> list[float]:
        """Those that were reported since the last time."""
        waiting = self.reach()[EPISODES].current_size
        return [value for message in self._sample(EPISODES, waiting, list[float]) for value in message]

    def save(self) -> None:
        """Has the server write a checkpoint."""
        self._do(self._client.checkpoint)

    def reset_state(self) -> None:
        """Empties every table, for another training."""

        def reset() -> None:
            for name in (ROWS, JOB, POLICY, EPISODES):
                self._client.reset(name)

        self._do(reset)

    def _latest(self, table: str, kind: type[Message]) -> Message | None:
        """The table's one message, which is read only if it is another since the last time."""
        state = self.reach()[table]
        written = int(state.rate_limiter_info.insert_stats.completed)
        if table not in self._known or self._known[table][0] != written:
            found = self._sample(table, min(1, state.current_size), kind)
            self._known[table] = (written, found[0] if found else None)
        message: Message | None = self._known[table][1]
        return message

    def _sample(self, table: str, n: int, kind: type[Message]) -> list[Message]:
        if n == 0:
            return []

        def sample() -> list[Any]:
            return list(self._client.sample(table, n, emit_timesteps=False))

        return [msgspec.msgpack.decode(item.data[0].tobytes(), type=kind) for item in self._do(sample)]

    def _write(self, table: str, message: Any) -> None:
        content = np.frombuffer(msgspec.msgpack.encode(message), np.uint8)
        self._do(lambda: self._client.insert(content, {table: 1.0}))

    def _do(self, call: Callable[[], Message]) -> Message:
        """What the call returns. A connection that breaks in the midst of it is taken up again."""
        for _ in range(ATTEMPTS):
            self.reach()
            try:
                return within(self.patience_s, self._subject, call)
            except RuntimeError as error:
                broken = error
        raise ServerUnreachable(f"{self._subject}: {str(broken).splitlines()[0]}.") from broken
