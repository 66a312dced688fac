"""What docs/export.md says of options and of refusals, held against the code."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXPORT = ROOT / "export/rlway_export"
CONTRACT = ROOT / "clients/python/rlway_client/contract"
PAGE = (ROOT / "docs/export.md").read_text(encoding="utf-8")
VALUE = "\0"  # what a sentence puts in the place of a value
PARTS = re.compile(r" … |, (?=has no|cannot be)")  # a row may quote several sentences, or two parts of one


def _options() -> dict[str, str]:
    """The options of `rlway export` by name; the text of each parameter's annotation."""
    tree = ast.parse((EXPORT / "cli.py").read_text(encoding="utf-8"))
    command = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "export")
    found = {}
    for parameter in command.args.args:
        text = ast.unparse(parameter.annotation) if parameter.annotation else ""
        named = re.search(r"'(--[a-z-]+)'", text)
        found[named[1] if named else "--" + parameter.arg.replace("_", "-")] = text
    return {name: text for name, text in found.items() if "hidden=True" not in text and name != "--sources"}


def _commands() -> Iterator[list[str]]:
    """The words of every `rlway export` that a block of the page shows."""
    for block in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("rlway export "):
                yield shlex.split(line, comments=True)


def _sentences() -> list[str]:
    """Every text in the code of the exporter, and in the contract, with `VALUE` in the place of each value."""
    texts = []
    for path in [*EXPORT.rglob("*.py"), *CONTRACT.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def _refusals() -> list[str]:
    """The first column of the table of refusals."""
    lines = PAGE.split("## What is refused")[1].split("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    return [row.split("|")[1].strip() for row in rows]


OPTIONS, SENTENCES = _options(), _sentences()


def test_every_option_of_the_command_is_on_the_page() -> None:
    """A new option is described where a user looks for it."""
    assert [name for name in OPTIONS if f"`{name}" not in PAGE and f" {name}" not in PAGE] == []


def test_the_commands_on_the_page_have_only_options_that_exist() -> None:
    """As they are shown they can be typed."""
    commands = [*_commands()]
    assert len(commands) > 10
    assert {word for words in commands for word in words if word.startswith("--")} <= set(OPTIONS)


@pytest.mark.parametrize("refusal", _refusals())
def test_a_refusal_on_the_page_is_one_of_the_code(refusal: str) -> None:
    """In its words, so that a user finds the row."""
    for part in PARTS.split(refusal):
        assert any(part in sentence for sentence in SENTENCES), part


def test_links_within_the_page_lead_somewhere() -> None:
    """Also those from the other pages."""
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)", PAGE, re.M)
    }
    pages: list[Path] = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    links = re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)
    links += [
        link for page in pages for link in re.findall(r"export\.md#([a-z0-9-]+)", page.read_text(encoding="utf-8"))
    ]
    assert set(links) <= anchors
