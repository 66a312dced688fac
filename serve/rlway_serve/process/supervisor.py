"""The parent of several server processes on one port: it starts them, replaces those that die, and stops them.

In:      the number of workers, the function that each runs; SIGTERM, SIGINT, SIGHUP.
Out:     returns once all workers have ended; starts a new worker for each that dies.
Refuses: a worker that ends before every worker has once been ready (UsageError, WorkerFailed). The others are then
         stopped, because a replacement would most likely fail in the same way. After that time a worker that cannot
         start is tried again, and the others go on.

Workers are forked before the parent imports anything that starts threads. Each binds the port for itself
(SO_REUSEPORT), so the kernel spreads connections over them, and a worker that dies loses only its own connections. A
worker tells the parent through a socket pair that it is ready, or why it is not; when the parent is gone, the worker
reads the end of that stream and stops.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from rlway_client.contract.errors import RlwayError, UsageError

# A worker that dies before it was ready, or within this time, died quickly. From the second quick death in a row on,
# the replacement waits, and the wait doubles with each further one, up to `MAX_DELAY_S`.
QUICK_DEATH_S = 5.0
MAX_DELAY_S = 5.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

log = logging.getLogger(__name__)


class Report(msgspec.Struct):
    """The message of a worker to its parent: it is ready, or it cannot start."""

    ready: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    exit_code: int = 1


class WorkerFailed(RlwayError):
    """A worker could not start; the sentence is its own."""


class Link:
    """A worker's end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def report_ready(self, ready: object) -> None:
        """Reports that this worker answers requests; `ready` is sent as JSON."""
        self._send(Report(ready=msgspec.Raw(msgspec.json.encode(ready))))

    def report_error(self, error: RlwayError) -> None:
        """Reports why this worker cannot start."""
        self._send(Report(error=str(error), exit_code=error.exit_code))

    def _send(self, report: Report) -> None:
        with contextlib.suppress(OSError):  # the parent is gone; the worker notices that by the socket's end
            self.socket.sendall(msgspec.json.encode(report) + b"\n")


class Worker:
    """A process, as its parent sees it."""

    def __init__(self, number: int, pid: int, pipe: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.pipe = pipe
        self.started_s = time.monotonic()
        self.ready: msgspec.Raw | None = None
        self.received = b""


class Replacement(NamedTuple):
    """A worker that is due to be started again."""

    at_s: float
    number: int


class Supervisor:
    """The parent. `run` is what a worker does; `on_ready` gets one worker's report once all are ready."""

    def __init__(
        self, count: int, run: Callable[[Link], None], on_ready: Callable[[msgspec.Raw], None], stop_within_s: float
    ) -> None:
        self._count = count
        self._run = run
        self._on_ready = on_ready
        self._stop_within_s = stop_within_s
        self._workers: dict[int, Worker] = {}  # by process id
        self._due: list[Replacement] = []
        self._quick_deaths = 0
        self._announced = False
        self._stopping = False
        self._kill_at_s: float | None = None
        self._failure: RlwayError | None = None
        self._wakeup, self._wakeup_writer = socket.socketpair()

    def supervise(self) -> None:
        """Returns when all workers have ended; raises the failure of one that could not start."""
        for end in (self._wakeup, self._wakeup_writer):
            end.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        wakeup_before = signal.set_wakeup_fd(self._wakeup_writer.fileno())
        try:
            for number in range(self._count):
                self._start(number)
            while self._workers or (self._due and not self._stopping):
                self._wait()
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (self._wakeup, self._wakeup_writer):
                end.close()
        if self._failure is not None:
            raise self._failure

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        # Signals are blocked during the fork: the child must not handle one with the parent's handlers.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                ours.close()
                code = self._be_worker(Link(theirs), unblocked)
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()
        ours.setblocking(False)
        self._workers[pid] = Worker(number, pid, ours)

    def _be_worker(self, link: Link, unblocked: set[int | signal.Signals]) -> int:
        """Runs the worker in the child; the caller then ends the process, so that it never runs the parent's code."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        for end in (self._wakeup, self._wakeup_writer, *(worker.pipe for worker in self._workers.values())):
            end.close()
        try:
            self._run(link)
        except RlwayError as error:
            link.report_error(error)
            return error.exit_code
        except BaseException:
            log.exception("worker %d failed", os.getpid())
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _wait(self) -> None:
        """Waits for the next event, and handles it."""
        times = [due.at_s for due in self._due] + ([self._kill_at_s] if self._kill_at_s is not None else [])
        timeout_s = max(0.0, min(times) - time.monotonic()) if times else None
        pipes = {worker.pipe: worker for worker in self._workers.values()}
        readable, _, _ = select.select([self._wakeup, *pipes], [], [], timeout_s)
        for end in readable:
            if end is not self._wakeup:
                self._read_report(pipes[end])
        if self._wakeup in readable:
            for number in self._wakeup.recv(4096):
                self._on_signal(number)
        now_s = time.monotonic()
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            self._send_all(signal.SIGKILL)
        if not self._stopping:
            ripe = [due for due in self._due if due.at_s <= now_s]
            self._due = [due for due in self._due if due.at_s > now_s]
            for due in ripe:
                self._start(due.number)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._send_all(signal.SIGHUP)
        elif self._stopping and number == signal.SIGINT:
            self._send_all(signal.SIGINT)  # a second Ctrl-C stops without waiting
        else:
            self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._kill_at_s = time.monotonic() + self._stop_within_s
            self._send_all(signal.SIGTERM)

    def _send_all(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)  # a child that has not been reaped keeps its process id

    def _read_report(self, worker: Worker) -> None:
        try:
            data = worker.pipe.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return  # it has ended or closed its side; SIGCHLD tells which
        worker.received += data
        if not worker.received.endswith(b"\n"):
            return
        report = msgspec.json.decode(worker.received, type=Report)
        worker.received = b""
        if report.error:
            if self._announced:
                log.error("worker %d: %s", worker.number, report.error)
            else:
                kind = UsageError if report.exit_code == UsageError.exit_code else WorkerFailed
                self._fail(kind(report.error))
            return
        worker.ready = report.ready
        if not self._announced and sum(w.ready is not None for w in self._workers.values()) == self._count:
            self._announced = True
            self._on_ready(worker.ready)
        elif self._announced:
            log.info("worker %d: ready as process %d.", worker.number, worker.pid)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self._workers:
                worker = self._workers[pid]
                self._read_report(worker)  # it may have reported why it ends
                del self._workers[pid]
                worker.pipe.close()
                if not self._stopping:
                    self._replace(worker, os.waitstatus_to_exitcode(status))

    def _replace(self, worker: Worker, code: int) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        if worker.ready is None and not self._announced:
            self._fail(WorkerFailed(f"worker {worker.number}: {how} before it was ready; its log says why."))
            return
        now_s = time.monotonic()
        quick = worker.ready is None or now_s - worker.started_s < QUICK_DEATH_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        delay_s = min(MAX_DELAY_S, 0.1 * 2 ** min(self._quick_deaths, 16)) if self._quick_deaths > 1 else 0.0
        log.error("worker %d (process %d) %s; it is replaced.", worker.number, worker.pid, how)
        self._due.append(Replacement(now_s + delay_s, worker.number))

    def _fail(self, failure: RlwayError) -> None:
        if self._failure is None and not self._stopping:
            self._failure = failure
        self._stop()
