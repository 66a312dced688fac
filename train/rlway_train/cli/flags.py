"""Settings as flags of a command: what a setting is called, means and accepts is said once, in settings.

In:      a command that takes `**flags`, the settings' kinds.
Out:     the command with one flag per setting, None where it was not given; the settings that the flags override.
Refuses: UsageError for values that make no sense.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from rlway_train.config.settings import Chosen, Flag, TrainingSettings, override, parse_hidden

Command = Callable[..., None]


def settings_as_flags(*kinds: type[TrainingSettings], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """A decorator, to stand below typer's own, which reads the signature."""

    def extend(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        hints: dict[str, Any] = {}
        for kind in kinds:
            every = get_type_hints(kind, include_extras=True)
            hints |= {name: every[name] for name in kind.__struct_fields__ if name not in without}
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(hint))
            for name, hint in hints.items()
        ]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return extend


def overridden(settings: Chosen, flags: dict[str, Any]) -> Chosen:
    """The settings with those flags in place of their own that were given, checked."""
    given = {name: value for name, value in flags.items() if name in settings.__struct_fields__ and value is not None}
    if isinstance(given.get("hidden"), str):
        given["hidden"] = parse_hidden(given["hidden"])
    return override(settings, given)


def _option(hint: Any) -> Any:
    kind, flag = get_args(hint)
    assert isinstance(flag, Flag)
    words = get_origin(kind) is not None and type(None) not in get_args(
        kind
    )  # sizes such as 256,256; one of a few words
    option = typer.Option(help=flag.help, rich_help_panel=flag.panel, show_default=False)
    return Annotated[str | None if words else kind | None, option]
