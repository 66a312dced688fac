"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; the result, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from rlway_client.cli.help_page import WIDEST, HelpPage, new_group
from rlway_client.contract.errors import UsageError
from rlway_train.cli.compare import compare
from rlway_train.cli.distributed import actor, learner, replay
from rlway_train.cli.flags import PUBLISH, ConvPage, SacPage, settings_as_flags
from rlway_train.config.presets import PRESETS
from rlway_train.config.settings import DqnSettings, SacSettings
from rlway_train.training.plan import TrainingRequest, make_plan
from rlway_train.training.session import run_command

train = new_group(no_args_is_help=True)


@train.callback(invoke_without_command=True)
def _train(
    list_presets: Annotated[
        bool, typer.Option("--list-presets", help="Show the presets: settings known to work, by name.")
    ] = False,
) -> None:
    """Train a policy into a run folder."""
    if list_presets:
        print(presets_in_words(shutil.get_terminal_size().columns))
        raise typer.Exit


def presets_in_words(width: int) -> str:
    """Each preset with its command, environment and steps, and its summary below."""
    facts = [
        (name, f"rlway train {preset.algorithm}", preset.env, f"{preset.settings.steps:,} steps")
        for name, preset in PRESETS.items()
    ]
    widths = [max(map(len, column)) for column in zip(*facts, strict=True)]
    lines = []
    for row, preset in zip(facts, PRESETS.values(), strict=True):
        lines.append("  ".join(f"{fact:<{wide}}" for fact, wide in zip(row, widths, strict=True)).rstrip())
        lines += textwrap.wrap(preset.summary, min(width, WIDEST), initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


_ENV = Annotated[
    str | None, typer.Option(help="Gymnasium id, module:Class or path/to/file.py:Class; a preset names its own.")
]
_PRESET = Annotated[str | None, typer.Option(help="Settings known to work; `rlway train --list-presets` shows them.")]
_RUN = Annotated[Path | None, typer.Option(help="Folder to write; runs/PRESET-SEED or runs/ENV-SEED if not given.")]
_SEED = Annotated[int | None, typer.Option(min=0, help="Seed of everything random; 0 if not given.")]
_RESUME = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in this folder, with its own settings; start it if there is none."),
]
_ACTORS = Annotated[
    int,
    typer.Option(
        min=0, help="Processes that collect experience, through a Reverb server; 0: the training process itself."
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print run.json at the end.")]


@train.command(cls=ConvPage)
@settings_as_flags(DqnSettings)
def dqn(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = None,
    resume: _RESUME = False,
    as_json: _JSON = False,
    actors: _ACTORS = 0,
    publish: PUBLISH = None,
    **flags: Any,
) -> None:
    """Train a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    request = TrainingRequest(env, preset, run, seed, resume)
    run_command(make_plan(DqnSettings, request, with_actors(flags, actors)), publish, as_json, actors)


@train.command(cls=SacPage)
@settings_as_flags(SacSettings)
def sac(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = None,
    resume: _RESUME = False,
    as_json: _JSON = False,
    actors: _ACTORS = 0,
    publish: PUBLISH = None,
    **flags: Any,
) -> None:
    """Train a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    request = TrainingRequest(env, preset, run, seed, resume)
    run_command(make_plan(SacSettings, request, with_actors(flags, actors)), publish, as_json, actors)


for other in (replay, learner, actor, compare):
    train.command(cls=HelpPage)(other)


def with_actors(flags: dict[str, Any], actors: int) -> dict[str, Any]:
    """The flags, with --replay reverb if there are actors."""
    if not actors:
        return flags
    if flags["replay"] == "tf":
        raise UsageError("--actors: they add to a Reverb server, got --replay tf; leave one of them out.")
    if flags["collect_process"]:
        raise UsageError("--collect-process: actors have processes of their own, got --actors; leave one of them out.")
    return flags | {"replay": "reverb"}
