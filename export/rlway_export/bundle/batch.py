"""Several sources in one command: each is exported by itself, and a failure of one does not stop the others.

In:      sources, a name for each, the options that hold for all of them.
Out:     a bundle each, as soon as it is published.
Refuses: at the end, if some could not be published (ExportRefused says how many; each was reported before).

With one job the sources share this process, and TensorFlow starts once. With more, each job is a process of its own
that exports one source after the other.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import rlway_export
from rlway_client.common.quote import reason
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError


def export_all(
    sources: Sequence[Path],
    names: Sequence[str],
    models: Path,
    options: dict[str, Any],
    jobs: int,
    on_published: Callable[[Bundle], None],
    note: Callable[[str], None],
) -> None:
    """Publishes each source under its name; `options` are those of `rlway_export.export`."""
    failed = 0

    def finish(source: Path, path: Path | None, sentence: str) -> None:
        nonlocal failed
        if path is not None:
            on_published(Bundle.open(path, verify=False))
        else:
            failed += 1
            note(f"{source} is not published: {sentence}")

    if jobs == 1:
        for source, name in zip(sources, names, strict=True):
            finish(source, *export_one(source, name, models, options))
    else:
        pool = ProcessPoolExecutor(min(jobs, len(sources)), multiprocessing.get_context("spawn"))
        try:
            waiting = {
                pool.submit(export_one, source, name, models, options): source
                for source, name in zip(sources, names, strict=True)
            }
            for done in as_completed(waiting):
                try:
                    finish(waiting[done], *done.result())
                except BrokenProcessPool:
                    finish(waiting[done], None, "its process was killed, perhaps for want of memory; use fewer --jobs.")
        finally:  # after Ctrl-C, no further source is begun
            pool.shutdown(cancel_futures=True)
    if failed:
        raise ExportRefused(f"{failed} of {len(sources)} sources could not be published, as told above.")


def export_one(source: Path, name: str, models: Path, options: dict[str, Any]) -> tuple[Path | None, str]:
    """The bundle's folder, or None and why there is none."""
    try:
        return rlway_export.export(source, models, name, **options).path, ""
    except RlwayError as error:
        return None, str(error)
    except Exception as error:  # of TensorFlow, a compiler, an environment: the next source may succeed
        return None, f"{type(error).__name__}: {reason(error)}."
