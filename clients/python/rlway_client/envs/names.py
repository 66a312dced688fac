"""Names of environments, where the one that is at hand will not do: of a class, and for a bundle that travels.

In:      a class of environments; a name, as rlway_client.envs.find takes it.
Out:     the class's name; a name without an absolute path.
Refuses: what is neither a name nor a class, a class that no name finds (UsageError).
"""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import Any

from rlway_client.contract.errors import UsageError


def name_of(env: str | type[Any]) -> str:
    """The name by which this process finds the class; a name as it is. Raises UsageError."""
    if isinstance(env, str):
        return env
    if not isinstance(env, type):
        raise UsageError(
            f"env: expected a name or a class, got a {type(env).__name__[:60]}; give its name or its class."
        )
    module = sys.modules.get(env.__module__)
    if getattr(module, env.__name__, None) is not env:
        raise UsageError(
            f"env: {env.__qualname__[:100]} is not found by this name in {env.__module__[:60]}; define it at the top "
            f"of a module, not in a function or a class."
        )
    # A program is `__main__` only to itself; others find its classes in its file.
    file = getattr(module, "__file__", None) if env.__module__ == "__main__" else None
    return f"{file or env.__module__}:{env.__name__}"


def portable(name: str) -> str:
    """The name with the path of its file relative to the current folder, if it is absolute.

    A bundle travels: an absolute path would tell of the machine that wrote it, and lead nowhere on another one.
    """
    source, colon, kind = name.rpartition(":")
    if not source.endswith(".py") or not PurePath(source).is_absolute():
        return name
    return f"{os.path.relpath(source)}{colon}{kind}"
