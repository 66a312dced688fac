"""`rlway completion`: the script with which a shell completes `rlway`; and what `rlway` does when that script asks.

In:      the name of a shell; or, from its script, the words so far in the environment variable ASKED and others.
Out:     the script; or the words that may follow.
Refuses: a shell that typer knows no script for.

typer writes the scripts and reads the words. Its classes are imported only when a script asks.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

ASKED = "_RLWAY_COMPLETE"  # set by the scripts


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that reads the script.")],
) -> None:
    """Print the script that completes commands, options and their values in a shell.

    For bash, in ~/.bashrc: eval "$(rlway completion bash)".

    For zsh, in ~/.zshrc, after compinit: eval "$(rlway completion zsh)".

    For fish: rlway completion fish > ~/.config/fish/completions/rlway.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="rlway", complete_var=ASKED, shell=shell))


def is_asked() -> bool:
    """Whether a shell asks for words now; then typer is told of the shells."""
    if not os.environ.get(ASKED):
        return False
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    return True
