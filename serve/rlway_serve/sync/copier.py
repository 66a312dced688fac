"""Copies bundles from a store into a folder that servers follow, in a process of its own: the copier.

In:      settings with a store's URL.
Out:     settings whose models are on this machine while the context lasts; a process that keeps them up to date.
Refuses: a URL that cannot be used, a missing package, a cache folder with other contents (UsageError). A store that
         does not answer is tried again; with `--poll-s 0` it is an error (StoreFailed).

A look is one pass over the store: it finds what has changed, and copies it. The copier is a separate process because
libraries of object stores are large, start threads, and would take processor time from answers. One copier serves all
workers and servers that share a cache: it holds a lock on the cache. Every other server waits for that lock in a
thread. When the copier has ended, the server that gets the lock starts the next one. A copier ends with the server that
started it, when its stdin closes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from rlway_client.common.files import write_atomically
from rlway_client.contract.errors import RlwayError, UsageError
from rlway_serve.settings import Settings
from rlway_serve.sync.store import Store, StoreFailed
from rlway_serve.system.logging import log_to_stderr

LOCK = ".lock"
MARK = ".rlway-cache.json"
FIRST_SCAN_S = 10.0  # how long a server waits for the first look before it starts with the copies that are there
REPLACE_AFTER_S = 1.0
END_WITHIN_S = 5.0

log = logging.getLogger("rlway_serve.sync.copier")  # the same name when run as `-m`


class CopyTask(msgspec.Struct):
    """The copier's task: the one line of its input."""

    url: str
    folder: str
    poll_s: float
    keep_versions: int


class FirstScan(msgspec.Struct):
    """The result of the copier's first look at the store: the one line of its output."""

    error: str = ""
    exit_code: int = 0


class Mark(msgspec.Struct):
    """The file that says from which store a cache was copied."""

    store: str


class Copier:
    """Starts, replaces and stops the process."""

    def __init__(self, settings: Settings) -> None:
        assert settings.store is not None
        self._task = CopyTask(settings.store, str(settings.models), settings.store_poll_s, settings.keep_versions)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def start(self) -> None:
        """Starts the process and waits for its first look at the store, unless another copies into this cache."""
        try:
            with _open_lock(self._task.folder) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # the copier of another server that shares the cache
                    return
                self._process = self._spawn(lock, output=subprocess.PIPE)
        except OSError as error:
            raise RlwayError(f"the process that copies bundles cannot be started: {error.strerror}.") from None
        look = self._first_look(self._process)
        if not self._task.poll_s:
            self._process.wait()
        if look.error and (look.exit_code == UsageError.exit_code or not self._task.poll_s):
            raise (UsageError if look.exit_code == UsageError.exit_code else RlwayError)(look.error)

    def stand_by(self) -> None:
        """Starts a thread that replaces the process whenever it has ended."""
        if self._task.poll_s:
            threading.Thread(target=self._stand_by, name="rlway-copier", daemon=True).start()

    def stop(self) -> None:
        """Ends the process if this server started it."""
        self._stopping = True
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _stand_by(self) -> None:
        logged = ""
        while not self._stopping:
            try:
                self._replace()
                logged = ""
            except (OSError, subprocess.SubprocessError) as error:  # such as too many open files
                fault = f"the process that copies bundles cannot be replaced: {error}. It is tried again."
                if fault != logged:
                    log.error("%s", fault)
                logged = fault
            time.sleep(REPLACE_AFTER_S)

    def _replace(self) -> None:
        """Waits for the lock, starts a process, and waits until that has ended."""
        with _open_lock(self._task.folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._stopping:
                return
            self._process = self._spawn(lock, output=subprocess.DEVNULL)
        log.error("the process that copies bundles has ended; it is replaced.")
        self._process.wait()

    def _spawn(self, lock: int, output: int) -> subprocess.Popen[bytes]:
        """Starts the process, which inherits the lock and holds it until it ends."""
        # -P: imports nothing from the working directory.
        command = [sys.executable, "-P", "-m", "rlway_serve.sync.copier"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, pass_fds=[lock])
        assert process.stdin is not None
        with suppress(OSError):  # the process has ended already
            process.stdin.write(msgspec.json.encode(self._task) + b"\n")
            process.stdin.flush()
        return process

    def _first_look(self, process: subprocess.Popen[bytes]) -> FirstScan:
        assert process.stdout is not None
        with process.stdout:
            readable, _, _ = select.select([process.stdout], [], [], FIRST_SCAN_S if self._task.poll_s else None)
            if not readable:
                log.warning(
                    "%s: has not been looked through yet; starting with what is there.", Store(self._task.url).name
                )
                return FirstScan()
            line = process.stdout.readline()
        return msgspec.json.decode(line, type=FirstScan) if line else FirstScan("copying failed; its log says why.", 1)


@contextmanager
def _open_lock(folder: Path | str) -> Iterator[int]:
    lock = os.open(Path(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


@contextmanager
def copied(settings: Settings) -> Iterator[tuple[Settings, Copier]]:
    """The settings with the folder of copies as models, and the copier."""
    with _cache(settings) as folder:
        local = msgspec.structs.replace(settings, models=folder)
        copier = Copier(local)
        try:
            copier.start()
            yield local, copier
        finally:
            copier.stop()


@contextmanager
def _cache(settings: Settings) -> Iterator[Path]:
    if settings.cache is None:
        try:
            folder = tempfile.TemporaryDirectory(prefix="rlway-cache-", ignore_cleanup_errors=True)
        except OSError as error:
            raise UsageError(
                f"copies go to the folder for temporary files: {error.strerror}; --cache names another."
            ) from None
        with folder:
            yield Path(folder.name)
        return
    assert settings.store is not None
    cache, mark = settings.cache, Mark(Store(settings.store).name)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        made_for = _read_mark(cache / MARK)
        if made_for is None and any(cache.iterdir()):
            raise UsageError(f"--cache {cache}: is neither empty nor a cache of copies, and copying would clear it.")
        if made_for is None:
            write_atomically(cache / MARK, msgspec.json.encode(mark))
        elif made_for != mark:
            raise UsageError(f"--cache {cache}: holds copies from {made_for.store}; expected {mark.store}.")
        with _open_lock(cache):
            pass
    except OSError as error:
        raise UsageError(f"--cache {cache}: cannot be used: {error.strerror}.") from None
    yield cache


def _read_mark(path: Path) -> Mark | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def main() -> None:
    """The copier's process: looks at the store again and again until its stdin closes."""
    from rlway_serve.sync.mirror import DRAFT, Mirror
    from rlway_serve.sync.watchdog import Watchdog

    output = os.dup(1)  # kept for the report alone, since libraries may print
    os.dup2(2, 1)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=CopyTask)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the server handles them, and ends this process
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr()
    os.nice(10)  # the server's answers come first
    threading.Thread(target=_end_with_input, daemon=True).start()
    store = Store(task.url)
    mirror: Mirror | None = None
    watchdog = Watchdog(store, Path(task.folder, DRAFT))
    logged, first = "", True
    while first or task.poll_s:
        error = None
        try:
            with watchdog.look():
                mirror = mirror or Mirror(store, Path(task.folder), task.keep_versions)
                mirror.follow()
        except (RlwayError, OSError) as failure:
            error = failure
        fault = _sentence(error, task.folder)
        if first:
            _report(output, fault, error.exit_code if isinstance(error, RlwayError) else int(error is not None))
            if isinstance(error, UsageError):
                sys.exit(error.exit_code)
        if fault and fault != logged and task.poll_s:
            log.error("%s What has been copied goes on.", fault)
        elif logged and not fault:
            log.info("%s: can be read again.", store.name)
        logged, first = fault, False
        time.sleep(task.poll_s)


def _sentence(error: Exception | None, folder: str) -> str:
    if isinstance(error, OSError) and not isinstance(error, StoreFailed):
        return f"{folder}: copies cannot be written: {error.strerror}."
    return str(error or "")


def _report(output: int, fault: str, exit_code: int) -> None:
    with suppress(OSError), open(output, "wb") as file:  # the server no longer waits for it
        file.write(msgspec.json.encode(FirstScan(fault, exit_code)) + b"\n")


def _end_with_input() -> None:
    # Unbuffered: a thread that waits in sys.stdin.buffer would hold its lock at exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
