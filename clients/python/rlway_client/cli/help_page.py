"""Lays out `--help`: plain text for any width from 80 columns on, with nothing left out.

In:      a command and its options, as typer knows them.
Out:     the page: usage, what the command does, its arguments, its options under their headings, its subcommands.

typer's own pages read a help text as Markdown, where a placeholder such as <policy> is an HTML tag and vanishes. Beside
five other columns, they leave it one or two words a line at 80 columns.
"""

from __future__ import annotations

import textwrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDEST = 120  # columns; longer lines are hard to read
WIDEST_NAME = 32  # of an option with its type; the text of a wider one begins on the next line
INDENT, GAP = "  ", 2
ARGUMENTS, OPTIONS, COMMANDS = "Arguments", "Options", "Commands"

Rows = list[tuple[str, str]]


class HelpPage(TyperCommand):
    """A command whose page is laid out here."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        _write_purpose(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)


class GroupHelpPage(TyperGroup):
    """A group of commands whose page is laid out here; without a command, it shows that page."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        _write_purpose(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        _write(formatter, COMMANDS, [(name, _paragraphs(command)[0]) for name, command in commands if command])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)


def new_group(group: type[GroupHelpPage] = GroupHelpPage, **options: Any) -> typer.Typer:
    """A typer.Typer whose page is laid out here; add its commands with `cls=HelpPage`."""
    return typer.Typer(
        cls=group,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"max_content_width": WIDEST},
        **options,
    )


def _write_purpose(command: Any, formatter: Any) -> None:
    for paragraph in _paragraphs(command):
        formatter.write("\n" + _wrapped(paragraph, formatter.width, INDENT) + "\n")


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments, then each heading with its options, in the order in which they are declared."""
    sections: dict[str, Rows] = {ARGUMENTS: [], OPTIONS: []}
    for parameter in command.get_params(ctx):
        row = parameter.get_help_record(ctx)
        if row is not None:
            usual = ARGUMENTS if parameter.param_type_name == "argument" else OPTIONS
            sections.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(row)
    for heading, rows in sections.items():
        _write(formatter, heading, rows)


def _write(formatter: Any, heading: str, rows: Rows) -> None:
    """A heading, and its rows in two columns."""
    if not rows:
        return
    formatter.write(f"\n{typer.style(heading, bold=True)}:\n")
    column = max(min(len(name), WIDEST_NAME) for name, _ in rows) + GAP
    margin = INDENT + " " * column
    for name, text in rows:
        wrapped = _wrapped(text, formatter.width, margin)
        fits = len(name) + GAP <= column
        formatter.write(
            (INDENT + name + wrapped[len(INDENT + name) :] if fits else f"{INDENT}{name}\n{wrapped}") + "\n"
        )


def _paragraphs(command: Any) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]


def _wrapped(text: str, width: int, indent: str) -> str:
    """Text broken at spaces only: `--max-rate` and `rlway-export` stay whole."""
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
