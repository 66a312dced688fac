"""The options of `rlway serve`: written once in Settings, shown in docs/serving.md as they are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
import pytest
import typer

from rlway_serve.cli import serve
from rlway_serve.settings import FOLDER_POLL_S, STORE_POLL_S, Settings

SERVING = Path(__file__).parents[2] / "docs" / "serving.md"
FIELDS = {field.name: field for field in msgspec.structs.fields(Settings) if get_origin(field.type) is Annotated}
SHOWN = {name: field for name, field in FIELDS.items() if not get_args(field.type)[1].hidden}
UNITS = {"_s": "seconds", "_bytes": "bytes"}  # by the end of a setting's name


class Row(NamedTuple):
    """A row of the table."""

    options: list[str]
    unit: str
    default: str


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    section = SERVING.read_text().split("\n## Options\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:4]] for line in section.splitlines() if "| `--" in line]
    return [Row(re.findall(r"`(--[a-z-]+)`", options), unit, default) for options, unit, default in cells]


def flag_of(name: str) -> str:
    """What sets the setting on the command line."""
    return get_args(FIELDS[name].type)[1].name or f"--{name.replace('_', '-')}"


def setting_of(row: Row) -> str:
    return next(name for name in SHOWN if flag_of(name) == row.options[0])


def shown(name: str) -> str | None:
    """The default as the table has it; None where a word has to explain what happens without the option."""
    default: Any = FIELDS[name].default
    if name == "poll_s":
        return f"{FOLDER_POLL_S:g}, or {STORE_POLL_S:g} at a URL"
    if isinstance(default, bool):
        return "on" if default else "off"
    if default is None or default == ():
        return None
    if name.endswith("_bytes"):
        return f"{default // 1024**2} MiB" if default % 1024**2 == 0 else f"{default // 1024} KiB"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_setting_but_the_models_is_a_flag() -> None:
    """`models` and `store` come from the argument; whatever else is added to Settings can be set."""
    assert set(Settings.__struct_fields__) - set(FIELDS) == {"models", "store"}


def test_the_command_has_one_flag_per_setting_with_its_default() -> None:
    """The command line adds only --json."""
    parameters = inspect.signature(serve).parameters
    assert [*parameters] == ["models", *FIELDS, "json"]
    for name, field in FIELDS.items():
        assert parameters[name].default == (field.default if field.default != () else None)
        (option,) = (each for each in get_args(parameters[name].annotation) if isinstance(each, type(typer.Option())))
        assert option.help


def test_the_table_has_every_option_once_and_no_other(rows: list[Row]) -> None:
    """Besides an option, a row may name only its negation: of a switch that is not off by default."""
    assert sorted(row.options[0] for row in rows) == sorted(map(flag_of, SHOWN))
    for row in rows:
        no = f"--no-{row.options[0].removeprefix('--')}"
        assert row.options[1:] == ([no] if FIELDS[setting_of(row)].default is not False and _is_switch(row) else [])


def test_the_table_shows_the_defaults_and_the_units(rows: list[Row]) -> None:
    """An option whose default is computed has words in place of a value."""
    for row in rows:
        name = setting_of(row)
        default = shown(name)
        assert row.default == default if default is not None else re.search("[a-z]", row.default), row
        assert row.unit == next((unit for end, unit in UNITS.items() if name.endswith(end)), row.unit), row


@pytest.mark.parametrize(
    ("poll_s", "store", "folder", "at_store"),
    [(None, None, 1.0, 10.0), (None, "s3://b", 1.0, 10.0), (5.0, None, 5.0, 5.0), (5.0, "s3://b", 1.0, 5.0),
     (0.0, None, 0.0, 0.0), (0.0, "s3://b", 0.0, 0.0), (0.2, "s3://b", 0.2, 0.2)],
)  # fmt: skip
def test_poll_s_means_the_store_where_there_is_one(
    poll_s: float | None, store: str | None, folder: float, at_store: float
) -> None:
    """The folder of copies is on this machine, and is looked at at least once a second."""
    settings = Settings(models=Path(), store=store, poll_s=poll_s)
    assert (settings.folder_poll_s, settings.store_poll_s) == (folder, at_store)


def _is_switch(row: Row) -> bool:
    kind = get_args(FIELDS[setting_of(row)].type)[0]
    return bool in (kind, *get_args(kind))
