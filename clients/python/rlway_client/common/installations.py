"""Finds the environments of this machine that hold packages of RLway: this one, and those beside it.

In:      the environment of this process, PATH, the usual names of environments.
Out:     an `Installation` for each that holds the command `rlway`: where it is, and its packages with their versions.
Refuses: nothing; an environment that cannot be read is left out.

Training and serving need different versions of the same libraries, so most users have two environments.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

COMMAND = "rlway"
PACKAGES = ("rlway-client", "rlway-serve", "rlway-train", "rlway-export")
NAMES = (".venv", ".venv-train", ".venv-serve", "venv")  # of environments beside this one, or in the current folder


class Installation(NamedTuple):
    """One environment: the path of its command, and the versions of RLway's packages in it."""

    command: Path
    packages: dict[str, str]

    @property
    def python(self) -> Path:
        return self.command.with_name("python")


def this_installation() -> Installation:
    """The environment of this process."""
    return Installation(Path(sysconfig.get_path("scripts")) / COMMAND, _packages(None))


def other_installations() -> list[Installation]:
    """The other environments, in the order in which they are looked for; each once."""
    seen, found = {_real(this_installation().command)}, []
    for command in _candidates():
        real = _real(command)
        if real not in seen and os.access(command, os.X_OK):
            seen.add(real)
            packages = _packages([str(path) for path in command.parents[1].glob("lib/python3*/site-packages")])
            if packages:
                found.append(Installation(command, packages))
    return found


def _candidates() -> Iterator[Path]:
    on_path = shutil.which(COMMAND)
    if on_path:
        yield Path(on_path).resolve()  # pipx and others link to an environment's command
    for folder in dict.fromkeys((Path(sys.prefix).parent, Path.cwd())):
        for name in NAMES:
            yield folder / name / "bin" / COMMAND


def _packages(places: list[str] | None) -> dict[str, str]:
    path = sys.path if places is None else places
    found = {name: next(iter(distributions(name=name, path=path)), None) for name in PACKAGES}  # the first counts
    return {name: one.version for name, one in found.items() if one is not None}


def _real(command: Path) -> Path:
    return command.parent.resolve() / command.name
