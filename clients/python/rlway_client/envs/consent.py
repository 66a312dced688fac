"""Chooses the environment that a command makes: the one that its user names, or the trained one if that is no code.

In:      the environment that a manifest or a run names; what `--env` says.
Out:     the name of the environment to make.
Refuses: to run a module or a file because a manifest or a run names it (UsageError); only `--env` allows that.
"""

from __future__ import annotations

import shlex
from pathlib import PurePath

from rlway_client.contract.errors import UsageError

LONGEST_NAME = 120  # characters of a name that is shown; a manifest may hold any name


def trained_environment(name: str | None, given: str | None = None) -> str:
    """`given`, if the user named one, or else `name`, the trained environment. Raises UsageError if that is code."""
    if given is not None:
        return given
    if not name:
        raise UsageError("the environment that the policy was trained in is not known; name one with --env.")
    if is_code(name):
        raise UsageError(
            "the policy was trained in an environment that is code, which never runs unasked; if you trust it, "
            f"say so with --env {_quoted(name)}"
        )
    return name


def is_code(name: str) -> bool:
    """Whether finding this environment imports a module or a file: `module:Class`, `file.py:Class`, `file.py`."""
    return ":" in name or name.endswith(".py")


def is_same(given: str, trained: str | None) -> bool:
    """Whether the user names the environment of the training; its file may have another path."""
    if trained is None or given == trained:
        return given == trained
    (file, _, kind), (trained_file, _, trained_kind) = given.rpartition(":"), trained.rpartition(":")
    files = file.endswith(".py") and PurePath(file).name == PurePath(trained_file).name
    return files and kind == trained_kind


def _quoted(name: str) -> str:
    """The name as a shell takes it; a name that a terminal cannot show is not shown."""
    if name.isprintable() and len(name) <= LONGEST_NAME:
        return shlex.quote(name)
    return "and its name, which is not to be shown here: read it in manifest.json"
