"""What `rlway inspect` calls for a path that is no bundle: the entry point of the group `rlway.inspectors`.

In:      a path.
Out:     one screen, or JSON.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import msgspec
from rich.console import Console

from rlway_export.common.quiet import quiet_conversion


def inspect(path: Path, as_json: bool) -> None:
    """Prints what is found; while it loads TensorFlow, a terminal shows that it works."""
    waiting = Console(stderr=True)
    with waiting.status(f"reading {path.name}") if waiting.is_terminal else nullcontext(), quiet_conversion():
        from rlway_export.inspect.inspection import inspect_path

        report = inspect_path(path)
    if as_json:
        print(json.dumps(msgspec.to_builtins(report), indent=2))  # which can write any path
    else:
        from rlway_export.inspect.screen import show

        show(report, Console())
