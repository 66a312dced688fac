"""Collects in a process of its own, so that the environments and the learner each have a core.

In:      a policy, sent with every block.
Out:     the rows and returns of a Collector, bit for bit; with `collect_ahead`, one block after they were asked for.
Refuses: what the environments refuse, raised here as itself; WorkerLost once the process is gone.

    trainer   ── policy 1 ──▶  learns from block 0  ◀── block 1 ── policy 2 ──▶  learns from block 1  ◀── …
    worker                     steps block 1                                     steps block 2

The worker finds the environment anew by its name: a class in a file does not travel. It imports no TensorFlow, unless
the environment does.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import FloatArray
from rlway_client.envs.find import sentence
from rlway_train.collect.adders.base import Adder
from rlway_train.collect.collector import Collector
from rlway_train.common.quiet import quiet_libraries
from rlway_train.envs.domain import Domain, find_domain
from rlway_train.policies.numpy import BatchPolicy

ENDING_S = 2.0  # for the environments to close; then the process is ended
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Generators = list[np.random.Generator]


class WorkerLost(RlwayError):
    """The process that collects has ended by itself."""


@dataclass(frozen=True)
class CollectorJob:
    """What the worker has to know; what Collector takes."""

    env: str
    discretize: int | None
    time_limit: int | None
    continuous: bool
    envs: int
    seed: int
    adder: Adder | None

    def collector(self) -> Collector:
        domain = find_domain(self.env, self.discretize, self.time_limit, self.continuous)
        return Collector(domain.make_many(self.envs), self.seed, self.adder)


class CollectorProcess:
    """A Collector in another process."""

    def __init__(self, domain: Domain, envs: int, seed: int, adder: Adder | None = None) -> None:
        continuous = np.dtype(domain.action.dtype).kind == "f"
        work = CollectorJob(domain.env, domain.discretize, domain.max_episode_steps, continuous, envs, seed, adder)
        context = get_context("spawn")
        self._env = domain.env
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), name="rlway-collector", daemon=True)
        with _single_threaded(), _deaf_to_interrupts():
            self._process.start()
        theirs.close()  # or the pipe would not end with the worker
        self._lent: Generators | None = None  # of the policy that the worker acts with now
        self._ahead: FloatArray | None = None
        self.taken = 0  # environment steps that the latest block stands for
        self.returns: list[float] = []  # of the episodes that ended, in order

    def collect(self, policy: BatchPolicy, n: int) -> FloatArray:  # -> [n, width]
        """The next `n` rows, which are waited for."""
        if self._lent is not None:
            self._ahead = self._receive()
        self._begin(policy, n)
        self.taken = n
        return self._receive()

    def collect_ahead(self, policy: BatchPolicy, n: int) -> FloatArray:  # -> [n, width]
        """The rows of the block begun by the call before; begins the next one, which nobody waits for yet."""
        rows, self._ahead = self._ahead, None
        if rows is None:
            rows = self.collect(policy, n) if self._lent is None else self._receive()
        self._begin(policy, n)
        self.taken = len(rows)
        return rows

    def end(self) -> None:
        """The training is over."""

    def close(self) -> None:
        """Ends the worker, in the midst of a block if need be."""
        self._connection.close()
        self._process.join(ENDING_S)
        self._process.kill()
        self._process.join()

    def _begin(self, policy: BatchPolicy, n: int) -> None:
        request, self._lent = _packed(policy, n)
        # A worker that refused or ended is reported by `_receive`, which reads what it may have said before.
        with suppress(OSError):
            self._connection.send_bytes(request)

    def _receive(self) -> FloatArray:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(answer, BaseException):
            raise answer
        rows, returns, states = answer
        assert self._lent is not None  # every answer has been asked for
        for generator, state in zip(self._lent, states, strict=True):
            generator.bit_generator.state = state
        self._lent = None
        self.returns += returns
        block: FloatArray = rows
        return block

    def _lost(self) -> WorkerLost:
        self._process.join(ENDING_S)
        code = self._process.exitcode
        how = f"signal {-code}, {signal.strsignal(-code)}" if code is not None and code < 0 else f"exit status {code}"
        return WorkerLost(
            f"{self._env}: the process that collects in it has ended ({how}); signal 9 often means that memory ran "
            f"out, which fewer --envs may mend, and signal 11 that the environment crashed."
        )


def _serve(connection: Connection, work: CollectorJob) -> None:
    """The worker's whole life: until the pipe ends, or an environment fails."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the trainer decides
    quiet_libraries()
    with suppress(OSError):  # the trainer is gone, and nobody reads what is sent
        try:
            with closing(work.collector()) as collector:
                for request in _requests(connection):
                    policy, n, generators = _unpacked(request)
                    rows = collector.collect(policy, n)
                    connection.send((rows, collector.returns, [drawn.bit_generator.state for drawn in generators]))
                    collector.returns.clear()
        except BaseException as error:
            connection.send(_portable(error))


def _requests(connection: Connection) -> Iterator[bytes]:
    """Until the trainer closes the pipe, or ends however it may: the kernel closes it then."""
    with suppress(EOFError, ConnectionResetError):
        while True:
            yield connection.recv_bytes()


def _portable(error: BaseException) -> BaseException:
    """The error itself where it can be pickled, with the worker's traceback for --debug."""
    error.add_note("In the process that collects:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RlwayError(sentence(error))
    return error


class _Pickler(pickle.Pickler):
    """Leaves a policy's random generators out, and notes them: their states come back with the block."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.generators: Generators = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, np.random.Generator):
            return None
        known = [id(generator) for generator in self.generators]
        if id(obj) not in known:
            self.generators.append(obj)
            return len(known), obj.bit_generator
        return known.index(id(obj)), None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.generators: Generators = []

    def persistent_load(self, pid: Any) -> np.random.Generator:
        index, bits = pid
        if bits is not None:
            self.generators.append(np.random.Generator(bits))
        generator: np.random.Generator = self.generators[index]
        return generator


def _packed(policy: BatchPolicy, n: int) -> tuple[bytes, Generators]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump((policy, n))
    return file.getvalue(), pickler.generators


def _unpacked(request: bytes) -> tuple[BatchPolicy, int, Generators]:
    unpickler = _Unpickler(io.BytesIO(request))
    policy, n = unpickler.load()
    return policy, n, unpickler.generators


@contextmanager
def _single_threaded() -> Iterator[None]:
    """What starts meanwhile multiplies its matrices on one core: they are small, and the learner needs the others."""
    kept = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What starts meanwhile is never interrupted, even before it can say so itself; we are, as soon as this ends."""
    resource_tracker.ensure_running()  # which would otherwise be started within, and undo the block
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
