"""The flags of a command, generated from the settings: name, type and help text are written once, in config.settings.

In:      a command that takes `**flags`; the kinds of settings.
Out:     the command with one flag for each setting. A flag that was not given is None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from rlway_client.cli.help_page import HelpPage
from rlway_client.contract.errors import UsageError
from rlway_train.config.convolutions import BY_SIZE
from rlway_train.config.settings import Flag, TrainingSettings

Command = Callable[..., None]

PUBLISH = Annotated[
    Path | None,
    typer.Option(
        metavar="MODELS/NAME",
        help="Export each better checkpoint as the next version of this policy while it trains; needs rlway-export.",
    ),
]


class ConvPage(HelpPage):
    """A command whose --conv may stand alone: then it has the value that stands for layers by the image's size."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        followers = [*args, "-"][1:]
        alone = [arg == "--conv" and follower.startswith("-") for arg, follower in zip(args, followers, strict=True)]
        given = [f"{arg}={BY_SIZE}" if is_alone else arg for arg, is_alone in zip(args, alone, strict=True)]
        return super().parse_args(ctx, given)


class SacPage(HelpPage):
    """The command of SAC, which says where --conv is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any(arg.partition("=")[0] == "--conv" for arg in args):
            raise UsageError("--conv: SAC has no convolutions here; learn images by DQN (rlway train dqn --conv).")
        return super().parse_args(ctx, args)


def settings_as_flags(*kinds: type[TrainingSettings], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """A decorator. It goes below typer's own, which reads the signature that this one writes."""

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


def _option(hint: Any) -> Any:
    kind, flag = get_args(hint)
    assert isinstance(flag, Flag)
    # Layer sizes such as 256,256 and the values of a Literal arrive as text.
    is_text = get_origin(kind) is not None and type(None) not in get_args(kind)
    option = typer.Option(help=flag.help, rich_help_panel=flag.panel, show_default=False)
    return Annotated[str | None if is_text else kind | None, option]
