"""A collector in a process of its own, so that the environments and the learner each have a core.

In:      a policy, sent with every block.
Out:     the same rows and returns as a LocalCollector's, bit for bit; with `collect_ahead`, one block later.
Refuses: what the environments refuse, raised here as the same exception; WorkerLost once the process has ended.

    trainer   ── policy 1 ──▶  learns from block 0  ◀── block 1 ── policy 2 ──▶  learns from block 1  ◀── …
    worker                     steps block 1                                     steps block 2

The worker looks the environment up by its name, because a class from a file cannot be pickled. It does not import
TensorFlow, unless the environment does.
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
from rlway_client.contract.specs import AnyArray
from rlway_client.envs.find import sentence
from rlway_train.collect.adders.base import Adder
from rlway_train.collect.collector import LocalCollector
from rlway_train.common.quiet import quiet_libraries
from rlway_train.envs.domain import Domain, find_domain
from rlway_train.policies.numpy import BatchPolicy

ENDING_S = 2.0  # for the environments to close; then the process is killed
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Generators = list[np.random.Generator]


class WorkerLost(RlwayError):
    """The worker ended before the training closed it."""


@dataclass(frozen=True)
class CollectorJob:
    """What the worker needs to make its collector."""

    env: str
    discretize: int | None
    time_limit: int | None
    continuous: bool
    frame_stack: int
    is_image: bool
    envs: int
    seed: int
    adder: Adder | None

    def collector(self) -> LocalCollector:
        domain = find_domain(
            self.env, self.discretize, self.time_limit, self.continuous, self.frame_stack, self.is_image
        )
        return LocalCollector(domain.make_many(self.envs), self.seed, self.adder)


class CollectorProcess:
    """A LocalCollector in another process."""

    def __init__(self, domain: Domain, envs: int, seed: int, adder: Adder | None = None) -> None:
        continuous = np.dtype(domain.action.dtype).kind == "f"
        made = domain.env, domain.discretize, domain.max_episode_steps, continuous, domain.frame_stack, domain.is_image
        work = CollectorJob(*made, envs, seed, adder)
        context = get_context("spawn")
        self._env = domain.env
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), name="rlway-collector", daemon=True)
        with _single_threaded(), _interrupts_blocked():
            self._process.start()
        theirs.close()  # otherwise the pipe would stay open when the worker has ended
        self._sent_generators: Generators | None = None  # of the policy that the worker has now
        self._ahead: AnyArray | None = None
        self.taken = 0
        self.returns: list[float] = []

    def collect(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        """The next `n` rows, with this policy."""
        if self._sent_generators is not None:
            self._ahead = self._receive()
        self._begin(policy, n)
        self.taken = n
        return self._receive()

    def collect_ahead(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        """Returns the block that the previous call began. Begins the next one without waiting for it."""
        rows, self._ahead = self._ahead, None
        if rows is None:
            rows = self.collect(policy, n) if self._sent_generators is None else self._receive()
        self._begin(policy, n)
        self.taken = len(rows)
        return rows

    def end(self) -> None:
        pass

    def close(self) -> None:
        """Ends the worker, even in the middle of a block."""
        self._connection.close()
        self._process.join(ENDING_S)
        self._process.kill()
        self._process.join()

    def _begin(self, policy: BatchPolicy, n: int) -> None:
        request, self._sent_generators = _packed(policy, n)
        # If the worker has ended, `_receive` reports it: the worker may have sent its error first.
        with suppress(OSError):
            self._connection.send_bytes(request)

    def _receive(self) -> AnyArray:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(answer, BaseException):
            raise answer
        rows, returns, states = answer
        assert self._sent_generators is not None  # each answer follows a request
        for generator, state in zip(self._sent_generators, states, strict=True):
            generator.bit_generator.state = state
        self._sent_generators = None
        self.returns += returns
        block: AnyArray = rows
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
    """Runs in the worker until the pipe ends, or an environment fails."""
    # Ctrl-C reaches every process of a terminal, but the trainer ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_libraries()
    with suppress(OSError):  # raised by `send` once the trainer is gone
        try:
            with closing(work.collector()) as collector:
                for request in _requests(connection):
                    policy, n, generators = _unpacked(request)
                    rows = collector.collect(policy, n)
                    states = [generator.bit_generator.state for generator in generators]
                    connection.send((rows, collector.returns, states))
                    collector.returns.clear()
        except BaseException as error:
            connection.send(_portable(error))


def _requests(connection: Connection) -> Iterator[bytes]:
    """Requests, until the trainer closes the pipe. If the trainer is killed, the kernel closes it."""
    with suppress(EOFError, ConnectionResetError):
        while True:
            yield connection.recv_bytes()


def _portable(error: BaseException) -> BaseException:
    """The error itself if it can be pickled, with the worker's traceback for --debug; otherwise its sentence."""
    error.add_note("In the process that collects:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RlwayError(sentence(error))
    return error


class _Pickler(pickle.Pickler):
    """Pickles a policy without its random generators and lists them. Their new states come back with the block."""

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
    """Processes started within use one thread for their small matrix products: the learner needs the cores."""
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
def _interrupts_blocked() -> Iterator[None]:
    """Processes started within never receive SIGINT, not even before they can ignore it.

    This process receives it after the block.
    """
    resource_tracker.ensure_running()  # starting it within would unblock the signal
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
