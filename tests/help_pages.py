"""Every help page of `rlway` in this environment, for the tests of both environments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from rlway_client.cli.main import app

WIDTHS = (80, 120)


def pages(monkeypatch: pytest.MonkeyPatch, width: int) -> Iterator[tuple[str, Any, str]]:
    """Each command's name, the command itself, and its page on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    root = get_command(app)
    yield from _pages(root, root.make_context("rlway", ["--help"], resilient_parsing=True))


def _pages(command: Any, context: Any) -> Iterator[tuple[str, Any, str]]:
    page = re.sub("\x1b\\[[0-9;]*m", "", command.get_help(context))
    yield context.command_path, command, page
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            yield from _pages(inner, inner.make_context(name, [], parent=context, resilient_parsing=True))


def faults(words: str, command: Any, page: str, width: int) -> list[str]:
    """What is wrong with a page: missing texts, long lines, narrow columns."""
    found = [f"{words}: a line of {len(line)}: {line}" for line in page.splitlines() if len(line) > width]
    whole = _packed(page)
    expected = [command.help or "", *(p.help or "" for p in command.params if not p.hidden)]
    expected += [
        option for p in command.params if not p.hidden for option in (p.opts if p.opts[0].startswith("-") else ())
    ]
    expected += [p.metavar for p in command.params if p.metavar]
    found += [f"{words}: leaves out of {text!r}" for text in expected if _packed(text) not in whole]
    lines = page.splitlines()
    for i in range(len(lines) - 2):
        # A text may end with one word on a line. Three such lines in a row mean that the column is too narrow.
        if all(len(line) - len(line.lstrip()) > 20 and len(line.split()) == 1 for line in lines[i : i + 3]):
            found.append(f"{words}: a word a line: {lines[i : i + 3]}")
    return found


def _packed(text: str) -> str:
    return "".join(text.split())
