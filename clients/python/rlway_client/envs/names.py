"""Names of environments, where the one that is at hand will not do: of a class, and for a bundle that travels.

In:      a class of environments; a name, as rlway_client.envs.find takes it.
Out:     the class's name; a name without an absolute path.
Refuses: what is neither a name nor a class, a class that no name finds (UsageError).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath
from typing import Any

from rlway_client.contract.errors import UsageError


def name_of(env: str | type[Any]) -> str:
    """The name by which this process finds the class; a name as it is. Raises UsageError."""
    if isinstance(env, str):
        return env
    if not isinstance(env, type):
        raise UsageError(
            f"env: expected a name or a class, got {type(env).__name__[:60]}; give its name, or the class itself."
        )
    module = sys.modules.get(env.__module__)
    if getattr(module, env.__name__, None) is not env:
        raise UsageError(
            f"env: {env.__qualname__[:100]} is not found by this name in {env.__module__[:60]}; define it at the top "
            f"of a module, not in a function or a class."
        )
    return f"{_program(module) if env.__module__ == '__main__' else env.__module__}:{env.__name__}"


def _program(main: Any) -> str:
    """Where others find the running program, which is `__main__` only to itself."""
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # it was started by `python -m`
        return str(spec.name)
    file = getattr(main, "__file__", None) or ""
    return file if file.endswith(".py") else "__main__"


def portable(name: str) -> str:
    """The name without an absolute path: relative to the current folder, or the file's name if it lies outside.

    A bundle travels: an absolute path would tell of the machine that wrote it, and lead nowhere on another one.
    """
    source, colon, kind = name.rpartition(":")
    path = PurePath(os.path.normpath(source))
    if path.suffix != ".py" or not path.is_absolute():
        return name
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name}{colon}{kind}"
