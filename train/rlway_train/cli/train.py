"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; what it achieved, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from rlway_client.cli.help_page import WIDEST, HelpPage, new_group
from rlway_client.common.returns import show_together
from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.contract.run import TrainingRun
from rlway_train.cli.compare import compare
from rlway_train.cli.distributed import actor, learner, note, replay
from rlway_train.cli.flags import settings_as_flags
from rlway_train.config.presets import PRESETS
from rlway_train.config.settings import DqnSettings, SacSettings
from rlway_train.training import session
from rlway_train.training.plan import Plan, TrainingRequest, make_plan
from rlway_train.training.publisher import PUBLISH, Publisher

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel

train = new_group(no_args_is_help=True)


@train.callback(invoke_without_command=True)
def _train(
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Show the known-good settings by name.")] = False,
) -> None:
    """Trains a policy into a run folder."""
    if list_presets:
        print(presets_in_words(shutil.get_terminal_size().columns))
        raise typer.Exit


def presets_in_words(width: int) -> str:
    """A line of facts for each, and below it what it is."""
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
_PRESET = Annotated[str | None, typer.Option(help="Known-good settings; `rlway train --list-presets` shows them.")]
_RUN = Annotated[Path | None, typer.Option(help="Folder to write; runs/PRESET-SEED or runs/ENV-SEED if not given.")]
_SEED = Annotated[int | None, typer.Option(min=0, help="Everything random follows from it; 0 if not given.")]
_RESUME = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in this folder, with its own settings; begin it if there is none."
    ),
]
_ACTORS = Annotated[
    int, typer.Option(min=0, help="Processes that act for the learner, around a Reverb server; 0 acts in this one.")
]
_JSON = Annotated[bool, typer.Option("--json", help="Print run.json in the end.")]


@train.command(cls=HelpPage)
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
    """Trains a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    request = TrainingRequest(env, preset, run, seed, resume)
    plan = make_plan(DqnSettings, request, with_actors(flags, actors))
    with Publisher(request.folder, publish, plan.env):
        report(carry_out(plan, actors), request.folder, as_json)


@train.command(cls=HelpPage)
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
    """Trains a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    request = TrainingRequest(env, preset, run, seed, resume)
    plan = make_plan(SacSettings, request, with_actors(flags, actors))
    with Publisher(request.folder, publish, plan.env):
        report(carry_out(plan, actors), request.folder, as_json)


for other in (replay, learner, actor, compare):
    train.command(cls=HelpPage)(other)


def with_actors(flags: dict[str, Any], actors: int) -> dict[str, Any]:
    """The flags, of which --actors implies one."""
    if not actors:
        return flags
    if flags["replay"] == "tf":
        raise UsageError("--actors: they add to a Reverb server, got --replay tf; leave one of them out.")
    if flags["collect_process"]:
        raise UsageError("--collect-process: actors have processes of their own, got --actors; leave one of them out.")
    return flags | {"replay": "reverb"}


def report(done: TrainingRun, folder: Path, as_json: bool) -> None:
    """Prints what a training has achieved."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(done), indent=2).decode() + "\n")
        return
    earned, at_random = show_together([done.final_return, done.random_return])
    print(
        f"{folder}: return {earned} over {done.final_episodes} episodes (random: {at_random}), {done.steps:,} steps, "
        f"{done.iterations_per_s:,.0f} iterations/s, {done.wall_s:.0f} s"
    )


def carry_out(plan: Plan[Any], actors: int = 0, channel: Channel | None = None) -> TrainingRun:
    """Trains; what ends it early is told with the way to go on."""
    try:
        return session.carry_out(plan, actors=actors, channel=channel)
    except (RlwayError, KeyboardInterrupt) as error:
        if plan.folder.exists():
            command = plan.settings.algorithm if channel is None else f"learner --replay {channel.address}"
            command += f" --actors {actors}" * bool(actors)
            where = shlex.quote(str(plan.folder))
            note(f"{plan.folder}: unfinished; go on with: rlway train {command} --resume --run {where}")
        if isinstance(error, KeyboardInterrupt):
            note("rlway: interrupted.")
            raise typer.Exit(130) from None
        raise
