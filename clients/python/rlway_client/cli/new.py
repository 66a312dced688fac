"""`rlway new`: a small project around an environment of one's own, which runs as it is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from rlway_client.common.installations import Installation, other_installations, this_installation
from rlway_client.project.writing import write_project


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="NAME", help="Name of the project: its folder, its module and its policy.")
    ],
) -> None:
    """Make a small project: an environment of your own, its tests, and a Makefile that trains, exports, serves, plays.

    It runs as it is; then put your environment in place of its own. NAME may be a path, whose last part is the name.
    """
    known = [this_installation(), *other_installations()]
    training = _with(known, ("rlway-train", "rlway-export"))
    serving = _with(known, ("rlway-serve",))
    files = write_project(folder, training, serving)
    print(f"{folder}/: {', '.join(files)}\n")
    print(f"  cd {shlex.quote(str(folder))}")
    print("  make train export       # learns and publishes the first version, in about a minute")
    print("  make serve              # answers at http://127.0.0.1:8080 until Ctrl-C")
    print("  make play               # in another terminal: episodes with the server's actions\n")
    for purpose, found, needed in (("train", training, "requirements-train"), ("serve", serving, "requirements-serve")):
        if found is None:
            print(f"Nothing on this machine can {purpose} yet: {needed}.txt lists what it needs, README.md says how.")
    print("README.md says more; `make` lists the verbs.")


def _with(known: Iterable[Installation], packages: tuple[str, ...]) -> Installation | None:
    return next((one for one in known if all(name in one.packages for name in packages)), None)
