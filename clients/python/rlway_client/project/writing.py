"""Writes a new project: the template's files, with the project's name in place of the template's.

In:      a folder that is not there, or empty; where RLway's commands are on this machine.
Out:     the folder, whole.
Refuses: a name that cannot be a module's, a folder that holds something, a place that cannot be written (UsageError).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from rlway_client.common.files import FolderTaken, folder_that_appears_whole
from rlway_client.common.installations import Installation
from rlway_client.contract.errors import UsageError
from rlway_client.project.names import check_name, class_name

TEMPLATE = Path(__file__).with_name("template")
MODULE, CLASS = "my_project", "MyProject"  # the template's names
HIDDEN = {"gitignore": ".gitignore"}  # which, as .gitignore, would hide files of the template
LOCAL = "local.mk"


def write_project(folder: Path, training: Installation | None, serving: Installation | None) -> list[str]:
    """Writes the project and returns the names of its files."""
    name = check_name(folder.name)
    files = {_named(file.name, name): _named(file.read_text(), name) for file in _template()}
    local = _local(training, serving)
    if local:
        files[LOCAL] = local
    try:
        with folder_that_appears_whole(folder, replace_empty=True) as draft:
            for file, text in files.items():
                (draft / file).write_text(text)
    except FolderTaken:
        raise UsageError(f"{folder}: is there already, and is no empty folder; name another one.") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}; name a folder elsewhere.") from None
    return sorted(files)


def _template() -> list[Path]:
    return [file for file in sorted(TEMPLATE.iterdir()) if file.is_file()]


def _named(text: str, name: str) -> str:
    text = HIDDEN.get(text, text)
    return re.sub(f"{MODULE}|{CLASS}", lambda found: name if found[0] == MODULE else class_name(name), text)


def _local(training: Installation | None, serving: Installation | None) -> str:
    """What the Makefile includes: the commands of this machine, for make and then for the shell."""
    lines = []
    if training is not None:
        lines += [f"RLWAY_TRAIN ?= {_quoted(training.command)}", f"PYTHON ?= {_quoted(training.python)}"]
    if serving is not None:
        lines += [f"RLWAY_SERVE ?= {_quoted(serving.command)}"]
    head = "# Where RLway is on this machine, as `rlway new` found it. Without this file: .venv-train, .venv, or PATH."
    return "\n".join([head, *lines, ""]) if lines else ""


def _quoted(path: Path) -> str:
    return shlex.quote(str(path)).replace("$", "$$").replace("#", r"\#")
