"""Several sources in one command: each is exported by itself, and a failure of one does not stop the others.

In:      sources, a name for each, the options that hold for all of them.
Out:     a bundle each, as soon as it is published, and its notes.
Refuses: at the end, if some could not be published (ExportRefused says how many; each was reported before).

With one job the sources share this process, and TensorFlow starts once. With more, each job is a process of its own
that exports one source after the other. After Ctrl-C only what has begun is finished. The first export of a process
imports TensorFlow, whose objects stay: Python's garbage collector need not look at them. What each later one leaves is
collected.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import rlway_export
from rlway_client.common.garbage import patient_collector
from rlway_client.common.quote import reason
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError

KILLED = "its process was killed, perhaps for want of memory; use fewer --jobs."
NOTE = "note: "  # with which a line of `rlway_export.export` begins that holds for longer than the step


class Result(NamedTuple):
    """What came of one source."""

    bundle: Path | None  # None: not published
    sentence: str = ""  # why not
    notes: Sequence[str] = ()


Finish = Callable[[Path, str, Result], None]


def export_all(
    sources: Sequence[Path],
    names: Sequence[str],
    models: Path,
    options: dict[str, Any],
    jobs: int,
    on_published: Callable[[Bundle], None],
    note: Callable[[str], None],
) -> None:
    """Publishes each source under its name; `options` are those of `rlway_export.export`, without `log`."""
    failed = 0

    def finish(source: Path, name: str, result: Result) -> None:
        nonlocal failed
        for line in result.notes:
            note(f"{name}: {line}")
        if result.bundle is not None:
            on_published(Bundle.open(result.bundle, verify=False))
        else:
            failed += 1
            note(f"{source} is not published: {result.sentence}")

    pairs = list(zip(sources, names, strict=True))
    if jobs == 1:
        for source, name in pairs:
            finish(source, name, export_one(source, name, models, options))
    else:
        _export_in_processes(pairs, models, options, min(jobs, len(sources)), finish)
    if failed:
        raise ExportRefused(f"{failed} of {len(sources)} sources could not be published, as told above.")


def _export_in_processes(
    pairs: Sequence[tuple[Path, str]], models: Path, options: dict[str, Any], jobs: int, finish: Finish
) -> None:
    """Hands a source to each idle process. After one was killed, new processes take the sources that are left."""
    left = list(reversed(pairs))
    while left:
        running: dict[Future[Result], tuple[Path, str]] = {}
        is_broken = False
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            while running or (left and not is_broken):
                while left and len(running) < jobs and not is_broken:
                    source, name = left.pop()
                    try:
                        running[pool.submit(export_one, source, name, models, options)] = source, name
                    except BrokenProcessPool:  # noticed only now
                        left.append((source, name))
                        is_broken = True
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    source, name = running.pop(done)
                    try:
                        result = done.result()
                    except BrokenProcessPool:
                        result, is_broken = Result(None, KILLED), True
                    finish(source, name, result)


def export_one(source: Path, name: str, models: Path, options: dict[str, Any]) -> Result:
    """The bundle's folder, or None and why there is none; the notes in either case."""
    notes: list[str] = []

    def log(line: str) -> None:
        if line.startswith(NOTE):
            notes.append(line)

    try:
        with patient_collector():
            return Result(rlway_export.export(source, models, name, **options, log=log).path, "", notes)
    except RlwayError as error:
        return Result(None, str(error), notes)
    except Exception as error:  # of TensorFlow, a compiler, an environment: the next source may succeed
        return Result(None, f"{type(error).__name__}: {reason(error)}.", notes)
