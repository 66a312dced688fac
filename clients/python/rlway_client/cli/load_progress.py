"""What `rlway bench` shows while it runs, on stderr: stdout is for results.

In:      a title, how long a run takes.
Out:     a progress line on a terminal; elsewhere a plain line now and then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rlway_client.load.load_test import Watch
from rlway_client.load.loops import Tally

LINES = 10  # of a long run, where stderr is no terminal
LEAST_S = 1.0  # between two of them


@contextmanager
def load_progress(title: str, duration_s: float, quiet: bool) -> Iterator[Watch | None]:
    """Yields the function to call with the seconds since the start, and the counts. None: nothing is shown."""
    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
        )
        # Not refreshed by a thread, which would take time from the requests at any moment.
        with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
            task = progress.add_task(title, total=duration_s, said="")

            def show(elapsed_s: float, tally: Tally) -> None:
                progress.update(task, completed=min(elapsed_s, duration_s), said=_say(elapsed_s, tally), refresh=True)

            yield show
    else:
        every_s = max(LEAST_S, duration_s / LINES)
        next_s = every_s

        def write(elapsed_s: float, tally: Tally) -> None:
            nonlocal next_s
            if next_s <= elapsed_s < duration_s:
                next_s += every_s
                print(f"{title}: {int(elapsed_s)} of {duration_s:g} s, {_say(elapsed_s, tally)}", file=sys.stderr)

        yield write


def _say(elapsed_s: float, tally: Tally) -> str:
    errors = f", {tally.faults.total} errors" if tally.faults.total else ""
    return f"{tally.succeeded / max(elapsed_s, 1e-9):,.0f} actions/s{errors}"
