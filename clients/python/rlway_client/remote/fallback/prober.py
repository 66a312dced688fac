"""Asks the server on a thread of its own while the local side answers, so that no control loop waits for it.

In:      observations that the local side has to answer.
Out:     how each probe went; a client whose connection is open and known to work.

It looks up the server's name, connects, compares the served policy with the local one, and then asks for actions. A
policy with state is asked for every observation, in an episode of its own: after `warm` steps without a gap its state
on the server is as good as that of an episode that was played there from the beginning.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from rlway_client.common.structs import build_structs
from rlway_client.contract.errors import RlwayError
from rlway_client.contract.nesting import Tree
from rlway_client.remote.messages import Reply

PROBE_TIMEOUT_S = 0.5  # a probe into a broken network may not take longer; then comes the next


class Asker(Protocol):
    """The client of a server, as a fallback uses it."""

    timeout_s: float
    episode: str | None
    tree: Tree | None

    def ask(self, observations: Any, *, batched: bool = ..., taken_s: float | None = ..., **options: Any) -> Reply: ...

    def describe(self) -> dict[str, Any]: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Job(NamedTuple):
    """An observation to ask for; None only connects."""

    observation: Any
    options: Mapping[str, Any]
    first: bool  # whether the server's episode begins with it


class Prober:
    """One thread, which has at most one job at a time. Every method returns at once."""

    def __init__(
        self, connect: Callable[[], Asker], check: Callable[[dict[str, Any]], None], within_s: float, keeps_state: bool
    ) -> None:
        """`check` raises UsageError if the served policy is not the local one."""
        build_structs()  # the thread reads manifests, as the caller may do at the same time
        self._connect = connect
        self._check = check
        self._within_s = within_s
        self.keeps_state = keeps_state  # whether steps of an episode depend on each other; `check` may learn it
        self._client: Asker | None = None
        self._job: Job | None = None
        self._faults: list[str | None] = []  # of the probes that have ended
        self._closed = False
        self._changed = threading.Condition()
        self._has_gap = False  # whether the server's episode has missed a step since the job began
        self.warm = 0  # steps of the server's episode without a gap
        self._thread = threading.Thread(target=self._run, name="rlway-prober", daemon=True)
        self._thread.start()

    def offer(self, observation: Any, options: Mapping[str, Any]) -> bool:
        """Asks for this observation; False if the last probe is still under way, and then the episode has a gap."""
        with self._changed:
            if self._job is not None:
                self._has_gap = True
                return False
            # The caller may change its arrays as soon as it has its action.
            self._job = Job(copy.deepcopy(observation), dict(options), self.warm == 0)
            self._changed.notify()
        return True

    def begin(self) -> None:
        """The next observation begins an episode."""
        with self._changed:
            self.warm = 0
            self._has_gap = self._job is not None

    def results(self) -> list[str | None]:
        """The probes that have ended since the last call: None for one that was answered in time, else its fault."""
        with self._changed:
            ended, self._faults = self._faults, []
        return ended

    def take_client(self) -> Asker | None:
        """The client, if no probe is under way; it is the caller's from then on."""
        with self._changed:
            if self._job is not None:
                return None
            client, self._client = self._client, None
            return client

    def close(self) -> None:
        """Ends the thread, once its probe has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._closed:
                    break
                job = self._job
            assert job is not None
            fault = self._probe(job)
            with self._changed:
                self._faults.append(fault)
                is_step = job.observation is not None and fault is None and not self._has_gap
                self.warm = self.warm + 1 if is_step else 0
                self._job, self._has_gap = None, False
        if self._client is not None:
            self._client.close()

    def _probe(self, job: Job) -> str | None:
        """Why it was not answered in time, if it was not."""
        try:
            if self._client is None:
                client = self._connect()
                client.timeout_s = PROBE_TIMEOUT_S
                self._check(client.describe())
                self._client = client
            elif job.observation is None:
                self._check(self._client.describe())
            return None if job.observation is None else self._ask(self._client, job)
        except Exception as error:  # whatever it is, the next probe may find it mended
            if self._client is not None:
                self._client.close()
                self._client = None
            return str(error) if isinstance(error, RlwayError) else f"a probe failed: {error!r}"

    def _ask(self, client: Asker, job: Job) -> str | None:
        episode = {"first": job.first} if self.keeps_state else {}
        begun_s = time.monotonic()
        client.ask(job.observation, **{**job.options, **episode})
        took_s = time.monotonic() - begun_s
        if took_s <= self._within_s:
            return None
        return f"a probe took {took_s * 1e3:.0f} ms, longer than {self._within_s * 1e3:g} ms"
